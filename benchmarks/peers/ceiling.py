"""What vLLM itself can do: every call of the job, all known up front, in one batch of its offline engine.

No system can know a critique before it is written: here answers and critiques are drawn tokens, as many as a model
would write. Labels are asked in Charter's layout, and the engine is set as Charter sets it.
"""

import random

from job import Asking, Job, Recorder, probability
from vllm import LLM, SamplingParams

from engine.backends.vllm_engine import CPU_BLOCK, on_gpu, settle_on_cpu


def main() -> None:
    own: dict[str, int] = {}
    if not on_gpu():
        settle_on_cpu()
        own = {"block_size": CPU_BLOCK}
    job, asking, recorder = Job.read(), Asking("shared_first"), Recorder()
    llm = LLM(job.model, max_num_seqs=job.max_num_seqs, enforce_eager=True, **own)
    tokenizer = llm.get_tokenizer()
    draw = random.Random(0)

    def text() -> str:
        return str(tokenizer.decode(draw.choices(range(10, tokenizer.vocab_size), k=job.tokens)))

    recorder.ready()
    recorder.began("chains")
    conversations = [asking.answer(row) for row in job.rows]
    for number in range(job.rounds):
        for row in job.rows:
            answer, critique = text(), text()
            conversations += [asking.critique(row, number, answer), asking.revision(row, number, answer, critique)]
    outputs = llm.chat(conversations, SamplingParams(max_tokens=job.tokens), use_tqdm=False)
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    recorder.ended("chains", [output.outputs[0].text for output in outputs][-len(job.rows) :], tokens)

    recorder.began("feedback")
    questions = [question for pair in job.pairs for question in asking.votes(pair)]
    one_token = SamplingParams(max_tokens=1, temperature=0, detokenize=False, logprob_token_ids=job.options)
    outputs = llm.chat(questions, one_token, use_tqdm=False, add_generation_prompt=False, continue_final_message=True)
    labels = []
    for output in outputs:
        first = output.outputs[0].logprobs[0]
        labels.append(probability(*(first[option].logprob for option in job.options)))
    recorder.ended("feedback", labels, len(labels))


if __name__ == "__main__":
    main()
