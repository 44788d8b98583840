// Texts as they are shown: hidden characters made visible, and the words in which two answers differ.
// Everything reaches the page as text nodes; no markup is ever parsed.

/** Characters that reorder, hide or end text: controls, bidirectional marks, zero-width spaces, tags, lone surrogates.
 *  The joiners U+200C and U+200D stay: scripts and emoji need them. */
const HIDDEN = new RegExp(
  "([\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200b\\u200e\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff" +
    "\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}]|\\p{Surrogate})\\1*",
  "gu",
);

/** Scripts without spaces between words, which are compared by letter. */
const SCRIPTS = ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"];
const UNSPACED = SCRIPTS.map((name) => `\\p{Script=${name}}`).join("");
const WORD = new RegExp(
  `[${UNSPACED}]\\p{M}*\\s*|(?:(?![${UNSPACED}])[\\p{L}\\p{M}\\p{N}_'’-])+\\s*|[^\\s]\\s*|\\s+`,
  "gu",
);

/** Cells of the table of a comparison; beyond that two texts are shown without marks. */
const MOST_CELLS = 6_000_000;
/** Share of the shorter text's words below which what is equal is chance: marks would cover all and say nothing. */
const LEAST_IN_COMMON = 0.1;

/** Appends `text` to `node`, hidden characters written as their code points. */
function write(node, text) {
  let from = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > from) node.append(text.slice(from, match.index));
    node.append(hiddenMark(match[0], match[1]));
    from = match.index + match[0].length;
  }
  if (from < text.length) node.append(text.slice(from));
}

function hiddenMark(run, one) {
  const mark = document.createElement("code");
  mark.className = "hidden-character";
  const times = run.length / one.length;
  const code = one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  mark.textContent = `U+${code}${times > 1 ? ` ×${times.toLocaleString("en")}` : ""}`;
  return mark;
}

/** What a veiled text looks like: its shape, and none of its letters. */
function veiled(text) {
  return text.replace(/\p{Lu}/gu, "N").replace(/[^\s\p{Lu}]/gu, "n");
}

/** A text of the page's data as its parts: a string, or [head, characters left out, tail] where it was cut. */
function partsOf(stored) {
  return typeof stored === "string" ? { head: stored, omitted: 0, tail: "" } : {
    head: stored[0],
    omitted: stored[1],
    tail: stored[2],
  };
}

/** All of a stored text that the page holds, for searching. */
function heldText(stored) {
  return typeof stored === "string" ? stored : `${stored[0]}\n${stored[2]}`;
}

function wordsOf(text) {
  return text.match(WORD) ?? [];
}

/** Which words of two lists are in no longest common subsequence: [changed in a, changed in b], or the reason that
 *  nothing is marked. Words are equal whatever white space follows. */
function differences(a, b) {
  const one = a.map((word) => word.trimEnd());
  const other = b.map((word) => word.trimEnd());
  let start = 0;
  while (start < one.length && start < other.length && one[start] === other[start]) start += 1;
  let ends = 0;
  while (
    ends < one.length - start && ends < other.length - start &&
    one[one.length - 1 - ends] === other[other.length - 1 - ends]
  ) ends += 1;
  const rows = one.length - start - ends;
  const columns = other.length - start - ends;
  if ((rows + 1) * (columns + 1) > MOST_CELLS) return "The answers are too long to mark the differences.";
  const counterpart = new Map();
  for (let i = 0; i < start; i += 1) counterpart.set(i, i);
  for (const [i, j] of commonWords(one, other, start, rows, columns)) counterpart.set(i, j);
  for (let i = one.length - ends; i < one.length; i += 1) counterpart.set(i, i + other.length - one.length);
  const changedOne = new Uint8Array(one.length).fill(1);
  const changedOther = new Uint8Array(other.length).fill(1);
  let equal = 0;
  for (const [i, j] of counterpart) {
    // A word that is equal by itself, between differences, is chance, and reads as confetti.
    const between = i >= start && i < one.length - ends;
    if (between && counterpart.get(i - 1) !== j - 1 && counterpart.get(i + 1) !== j + 1) continue;
    changedOne[i] = 0;
    changedOther[j] = 0;
    equal += 1;
  }
  if (equal < LEAST_IN_COMMON * Math.min(one.length, other.length)) return "The answers differ throughout.";
  return [changedOne, changedOther];
}

/** Index pairs of a longest common subsequence, by the usual table of lengths from the ends. */
function* commonWords(one, other, start, rows, columns) {
  const width = columns + 1;
  const lengths = new Uint16Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i -= 1) {
    for (let j = columns - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = one[start + i] === other[start + j]
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  let i = 0;
  let j = 0;
  while (i < rows && j < columns) {
    if (one[start + i] === other[start + j]) {
      yield [start + i, start + j];
      i += 1;
      j += 1;
    } else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i += 1;
    else j += 1;
  }
}

/** Writes words into `node`, each run of changed ones inside a <mark>. */
function writeWords(node, words, changed) {
  let from = 0;
  while (from < words.length) {
    let to = from + 1;
    while (to < words.length && changed[to] === changed[from]) to += 1;
    const run = words.slice(from, to).join("");
    if (changed[from]) {
      const mark = document.createElement("mark");
      write(mark, run.trimEnd());
      node.append(mark);
      write(node, run.slice(run.trimEnd().length));
    } else write(node, run);
    from = to;
  }
}
