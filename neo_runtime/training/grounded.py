"""A grounded decoder as a module whose forward pass is the loss, and what of it is trained in which stage.

Stage 2 (NEO §stage 2) trains the rows of the markers and codes, in the embedding and in the head, and nothing else.
They are a parameter of their own here, beside the frozen matrices: no optimiser state for a vocabulary of text, no
copy of it in every pass, and no way for another weight to move. (peft's trainable tokens do the same job, but copy
the whole matrix in every forward pass: 0.6 GB for Qwen3's.)
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import nn
from torch.nn.functional import dropout, embedding
from transformers import PreTrainedModel

from neo_runtime.errors import ModelError
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.training.losses import IGNORED, TokenGroups

_SUBLAYER_ENDS = ("o_proj", "down_proj", "out_proj", "c_proj", "dense_4h_to_h")


class Trained(StrEnum):
    """What a stage changes."""

    ROWS = "rows"
    """The rows of markers and codes in embedding and head (NEO, stage 2)."""
    ALL = "all"
    """Every weight (NEO, stage 3)."""
    LORA = "lora"
    """Low-rank changes of the blocks' matrices, and the rows of markers and codes."""


class GroundedLM(nn.Module):
    """`lm` is changed by `finish`, not before, where rows are trained apart from it; else in place."""

    accepts_loss_kwargs = True  # the Trainer hands over how many targets all parts of a step have

    def __init__(self, model: NeoModel, groups: TokenGroups, trained: Trained, *, dropout_share: float = 0.0) -> None:
        """ModelError where the model's embedding or head does more than look up and multiply."""
        super().__init__()
        self.lm: PreTrainedModel = model.lm
        self.groups, self._dropout = groups, dropout_share
        self._text_size, self._size = model.vocabulary.text_size, model.vocabulary.size
        refuse_unlike(self.lm)
        self.rows: nn.Parameter | None = None
        self.head_rows: nn.Parameter | None = None
        if trained is Trained.ROWS:
            self.lm.requires_grad_(False)  # for LORA peft has done it
        if trained is not Trained.ALL:
            self._part_rows()
        self._hooks = _dropout_hooks(self.lm, dropout_share)

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor, position_ids: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> dict[str, torch.Tensor]:  # fmt: skip
        """{"loss": sum over the targets of [n, t] tokens, divided by `num_items_in_batch` or their number}."""
        hidden, targets = self.states(input_ids, position_ids), int((labels != IGNORED).sum())
        total = self.groups.loss(input_ids, labels, hidden, self._logits)
        if hidden.requires_grad and not targets:
            total = total + 0 * hidden.sum()  # other processes wait for this one's gradients
        return {"loss": total / (max(1, targets) if num_items_in_batch is None else num_items_in_batch)}

    def states(self, tokens: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Hidden states [n, t, width] of tokens [n, t]. Where `positions` start again another sample begins, which sees
        nothing of those before it (`refuse_leaks` makes sure of it).
        """
        looked_up = self.lm.get_input_embeddings()
        if self.rows is None:
            vectors = looked_up(tokens)
        else:
            text = embedding(tokens.clamp(max=self._text_size - 1), looked_up.weight)
            is_new = (tokens >= self._text_size)[..., None]
            vectors = torch.where(is_new, embedding((tokens - self._text_size).clamp(min=0), self.rows), text)
        if self._dropout:
            vectors = dropout(vectors, self._dropout, self.training)
        found = self.lm.base_model(inputs_embeds=vectors, position_ids=positions, use_cache=False)
        states: torch.Tensor = found.last_hidden_state
        return states

    def finish(self) -> None:
        """Write what was trained apart into the model."""
        for hook in self._hooks:
            hook.remove()
        own = slice(self._text_size, self._size)
        with torch.no_grad():
            if self.rows is not None:
                self.lm.get_input_embeddings().weight[own] = self.rows
            if self.head_rows is not None:
                self.lm.get_output_embeddings().weight[own] = self.head_rows
        self.lm.requires_grad_(True).eval()

    def _part_rows(self) -> None:
        looked_up, head = self.lm.get_input_embeddings(), self.lm.get_output_embeddings()
        if type(looked_up).forward is not nn.Embedding.forward:
            raise ModelError(
                f"models of kind {self.lm.config.model_type} scale their embeddings; train all weights instead"
            )
        own = slice(self._text_size, self._size)
        self.rows = nn.Parameter(looked_up.weight[own].detach().clone())
        is_tied = head.weight is looked_up.weight
        self.head_rows = self.rows if is_tied else nn.Parameter(head.weight[own].detach().clone())

    def _logits(self, hidden: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        head = self.lm.get_output_embeddings()
        if self.head_rows is None:
            rows: torch.Tensor = head.weight[start:stop]
            return hidden @ rows.T
        split = self._text_size
        parts = []
        if start < split:
            parts.append(hidden @ head.weight[start : min(stop, split)].T)
        if stop > split:
            parts.append(hidden @ self.head_rows[max(start, split) - split : stop - split].T)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def with_lora(model: NeoModel, rank: int, alpha: int, share_dropped: float) -> Callable[[], None]:
    """Put low-rank matrices into the blocks of `model.lm`, in place and before it becomes a GroundedLM; returns what
    merges them into the weights once that one is finished.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=share_dropped, target_modules="all-linear", bias="none",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    adapted = get_peft_model(model.lm, config)

    def merge() -> None:
        adapted.merge_and_unload()

    return merge


@torch.no_grad()
def refuse_unlike(lm: PreTrainedModel) -> None:
    """ModelError where embedding, body and head on their own are not the model: the loss would be another one."""
    tokens = torch.tensor([[0, 1, 2, 3]], device=lm.device)
    is_training, expected = lm.training, lm.eval()(input_ids=tokens, use_cache=False).logits.float()
    vectors = lm.get_input_embeddings()(tokens)
    head = lm.get_output_embeddings()
    found = lm.base_model(inputs_embeds=vectors, use_cache=False).last_hidden_state @ head.weight.T
    lm.train(is_training)
    if getattr(head, "bias", None) is not None or not torch.allclose(
        found.float(), expected, atol=0.02 * float(expected.abs().max())
    ):
        raise ModelError(
            f"models of kind {lm.config.model_type} do more to embeddings or logits than the loss knows of"
        )


@torch.no_grad()
def refuse_leaks(lm: PreTrainedModel) -> None:
    """ModelError where samples that share a row, as positions tell, see each other."""
    first, second = torch.tensor([[0, 1, 2]], device=lm.device), torch.tensor([[3, 2, 1, 0]], device=lm.device)
    places = torch.tensor([[0, 1, 2, 0, 1, 2, 3]], device=lm.device)
    is_training, body = lm.training, lm.eval().base_model
    shared = body(input_ids=torch.cat([first, second], dim=1), position_ids=places, use_cache=False).last_hidden_state
    alone = torch.cat([body(input_ids=one, use_cache=False).last_hidden_state for one in (first, second)], dim=1)
    lm.train(is_training)
    if not torch.allclose(shared.float(), alone.float(), atol=0.02 * float(alone.abs().max())):
        raise ModelError(f"models of kind {lm.config.model_type} cannot keep samples of one row apart; row_tokens = 0")


def _dropout_hooks(lm: PreTrainedModel, share: float) -> list[torch.utils.hooks.RemovableHandle]:
    """On what each attention and feed-forward block adds to the residual stream; most decoders have no such dropout."""
    if not share:
        return []
    ends = [module for name, module in lm.named_modules() if name.rpartition(".")[2] in _SUBLAYER_ENDS]
    if not ends:
        raise ModelError(f"dropout: where a block of {lm.config.model_type} ends is not known; set dropout to 0")
    return [
        module.register_forward_hook(lambda layer, _, output: dropout(output, share, layer.training)) for module in ends
    ]
