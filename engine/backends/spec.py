"""One model, as a recipe or a command line names it. Reading it loads nothing and touches no file."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

NumberType = Literal["auto", "float64", "float32", "bfloat16", "float16"]


class Price(BaseModel):
    """What a million tokens cost, in one currency."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prompt: NonNegativeFloat = 0.0
    """Money for a million prompt tokens that were not cached."""
    cached: NonNegativeFloat | None = None
    """Money for a million cached prompt tokens; the prompt price where it is not given."""
    completion: NonNegativeFloat = 0.0
    """Money for a million completion tokens."""
    currency: str = "USD"
    """The currency of the three prices."""


class ModelSpec(BaseModel):
    """A model and how it is run. Frozen, so it can travel to any process that opens it.

    Fields that a backend does not know are refused by `check_model`, not ignored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    backend: Literal["vllm", "transformers", "openai", "scripted"] = "transformers"
    """What runs the model: vLLM (GPU, or its CPU build), transformers, an OpenAI-compatible server, or a script."""
    model: str = Field(min_length=1)
    """A folder, a hub id (`organisation/name`), the name that a server serves, or a script (`echo`, `hash`, a file)."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; the default branch where it is not given."""
    adapter: str | None = None
    """vLLM and transformers: a LoRA adapter of the model as peft saves it. A folder, a hub id, or the run folder of a
    training with `lora`."""
    tokenizer: str | None = None
    """Folder or hub id of the tokenizer where it is not with the model; for a server it makes token counts exact."""
    chat_template: str | None = None
    """A Jinja file that replaces the tokenizer's own chat template."""
    template_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Further variables of the chat template, such as `enable_thinking: false`."""
    dtype: NumberType = "auto"
    """Number type of the weights. `auto` is the checkpoint's own on a GPU and float32 with transformers on a CPU.
    `float64` (transformers) makes what rounding does too small to change a drawn token: a small model then says the
    same however its prompts happen to meet in batches."""
    context_window: PositiveInt | None = None
    """Prompt and answer together, in tokens; what the model's configuration says where it is not given."""
    tensor_parallel: PositiveInt = 1
    """vLLM: how many GPUs share one copy of the weights."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """vLLM: the share of a GPU's memory that the engine may take."""
    quantization: str | None = None
    """vLLM: the quantisation method (`fp8`, `awq`, …) where the checkpoint does not name its own. transformers: `int8`,
    on a CPU."""
    enforce_eager: bool = False
    """vLLM: start sooner and run slower, without compilation and CUDA graphs."""
    load_format: Literal["safetensors", "dummy"] = "safetensors"
    """vLLM: `dummy` fills the weights with random numbers, to measure speed without a download."""
    batch_size: PositiveInt = 16
    """transformers: how many conversations are computed at once."""
    device: str = "auto"
    """transformers: `cpu`, `cuda`, `cuda:1`; `auto` takes a GPU where there is one."""
    base_url: str | None = None
    """openai: where the server is, with its version: `http://127.0.0.1:8000/v1`."""
    api_key_env: str | None = None
    """openai: NAME of the environment variable that holds the key. The key itself is never written down."""
    max_concurrency: PositiveInt = 64
    """openai: how many requests are under way at once."""
    timeout: PositiveFloat = 600.0
    """openai: seconds to wait for one answer."""
    retries: NonNegativeInt = 5
    """openai: how often a request is sent again after a refusal, a failure or a timeout."""
    prefill: Literal["vllm", "none"] = "vllm"
    """openai: how the server is told to continue an assistant message: as vLLM understands it, or not at all."""
    trust_remote_code: bool = False
    """Run Python code that comes with a hub model. Only for code that you have read."""
    engine_args: dict[str, JsonValue] = Field(default_factory=dict)
    """vLLM: further engine arguments by their own names, such as `max_num_seqs` or `max_num_batched_tokens`."""
    replicas: PositiveInt | tuple[PositiveInt, PositiveInt] = 1
    """Copies of the model on the cluster: a number, or [fewest, most] to follow the load."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs for one copy, fractions allowed; `tensor_parallel` where the cluster has GPUs, where it is not given."""
    cpus: float = Field(default=1, ge=0)
    """CPU cores set aside for one copy."""
    price: Price | None = None
    """What tokens cost, for the estimate before a run and the bill after it."""

    @property
    def called(self) -> str:
        """What users are told it is: the model, and its adapter where it has one."""
        return self.model if self.adapter is None else f"{self.model} with {self.adapter}"
