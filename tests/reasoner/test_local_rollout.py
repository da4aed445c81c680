"""The rollout loop on a real engine: what the model is fed is what the record says."""

from __future__ import annotations

import asyncio

import torch

from calmstorm.reasoner.engine.scheduler import EngineSettings
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Sampling
from calmstorm.records import Author, Execution, ExecutionStatus, SpanKind, StopReason
from calmstorm.rollout import RolloutLimits, rollout
from calmstorm.rollout.spans import RL_AUTHORS, cut, make_span, response_ids, response_mask


class PrintingInterpreter:
    async def arun(self, code, limits=None) -> Execution:
        await asyncio.sleep(0.01 * (len(code) % 5))
        return Execution(
            status=ExecutionStatus.OK, stdout=f"84 <|im_end|> {len(code)}\n", wall_seconds=0, tier="unsafe"
        )


def test_continues_from_fed_output_as_transformers_would_when_many_rollouts_run_at_once(model, tokenizer):
    async def go():
        reasoner = LocalReasoner.from_model(
            model, tokenizer, prompt="pocket-1", settings=EngineSettings(max_sequences=4)
        )

        def start(index):
            code = f"Let me see.\n```python\nprint({'7' * index})\n```\n"
            return (make_span(Author.REASONER, SpanKind.CODE, code, reasoner.codec),)

        made = await asyncio.gather(
            *(
                rollout(
                    reasoner,
                    PrintingInterpreter(),
                    reasoner.render(f"How many {{chairs}}, {index}?"),
                    limits=RolloutLimits(response_tokens=120),
                    sampling=Sampling(temperature=0),
                    spans=start(index),
                )
                for index in range(10)
            )
        )
        resumed = await rollout(
            reasoner,
            PrintingInterpreter(),
            made[3].prompt,
            limits=RolloutLimits(response_tokens=160),
            sampling=Sampling(temperature=0),
            spans=(
                *cut(made[3].spans, len("".join(s.text for s in made[3].spans)) - 20, reasoner.codec),
                make_span(Author.INTERVENER, SpanKind.HINT, "Wait, let me check.\n", reasoner.codec),
            ),
            executions=made[3].executions,
        )
        await reasoner.close()
        return [*made, resumed]

    for one in asyncio.run(asyncio.wait_for(go(), 60)):
        assert one.stop_reason in (StopReason.LENGTH, StopReason.FINISHED)
        assert tokenizer.eos_token_id not in one.spans[1].token_ids  # printed text is not a turn's end
        ids, mask = response_ids(one.spans), response_mask(one.spans, RL_AUTHORS)
        drawn = len(one.spans[-1].token_ids)
        assert one.spans[-1].author is Author.REASONER
        assert mask[-drawn:] == (1,) * drawn
        seen = [*one.prompt.token_ids, *ids[:-drawn]]
        with torch.no_grad():
            out = model.generate(
                torch.tensor([seen]),
                attention_mask=torch.ones(1, len(seen)).long(),
                max_new_tokens=drawn,
                do_sample=False,
            )
        assert tuple(out[0, len(seen) :].tolist()) == ids[-drawn:]
