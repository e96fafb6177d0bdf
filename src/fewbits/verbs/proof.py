"""The proof of a conversion: the file that was written against the file that was given, on everything one may feed.

The rewrites are held against the original first, in FP32 and on ONNX Runtime, where nothing but a fault tells them
apart. Then the file that was written, in the engine that will run it, in its own format. So it is known whose doing a
deviation is: that of the rewrites, of the format, or of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir

from fewbits import frontends
from fewbits.data import Sample
from fewbits.engines import ENGINES, TRIALS, Arrays, Options
from fewbits.errors import EngineError, InputError, ModelError
from fewbits.graph.files import file_bytes
from fewbits.measurement import feeds as kinds
from fewbits.measurement.deviation import (
    Deviation,
    noise_sums,
    run_all,
    worst_of,
)
from fewbits.measurement.feeds import Case
from fewbits.measurement.parting import parting
from fewbits.measurement.truth import Plan, Truth, truths
from fewbits.passes.rounded import rounded
from fewbits.progress import Progress
from fewbits.verbs import made as made_file
from fewbits.verbs.deviation_judge import DeviationJudge
from fewbits.verbs.made import ConversionError, Made, RewriteError

# All inner values of all cases are held at once to tell where engines part.
_MOST_COMPARED_BYTES: Final = 100_000_000
_FIXES: Final = {"fp16": "convert to bf16 or fp32", "bf16": "convert to fp32", "fp32": "report this model"}


def prove(
    plan: Plan, made: Made, rewritten: Callable[[], ir.Model], progress: Progress
) -> tuple[str, tuple[Deviation, ...]]:
    """Hold what was written against the original: (what served as truth, how far it deviates by kind of input).

    Args:
        rewritten: makes the model once more that the file was made of, to find out whose fault it is.

    Raises:
        RewriteError, ConversionError: it computes something else.
        InputError: see ``truths``, or the engine does not run the file.
    """
    first: ConversionError | None = None
    for truth in truths(plan):
        if truth.engine is None:
            if plan.original.shapes:
                _check_that_it_runs(made)
            progress.warn("not proved: no engine runs the original")
            return truth.said, ()
        if truth.drawn:
            progress.warn(f"the output {min(truth.drawn)} is drawn at random: only its shape and type are compared")
        try:
            return truth.said, Proof(truth, made, progress).run(rewritten)
        except ConversionError as error:
            first = first or error
            if truth.engine is TRIALS:
                break
    assert first is not None
    raise first


def _check_that_it_runs(made: Made) -> None:
    """What is not proved runs at least in the sizes that a person asked for, on zeros.

    Raises:
        EngineError: it does not.
    """
    session = made.engine.compile(made.file, Options())
    try:
        if all(None not in spec.shape for spec in session.inputs):
            session.run({spec.name: np.zeros(spec.single, spec.dtype) for spec in session.inputs})
    finally:
        session.close()


class Proof:
    """Holds what was written against one truth."""

    def __init__(self, truth: Truth, made: Made, progress: Progress) -> None:
        self.truth = truth
        self.made = made
        self.progress = progress
        self._judge = DeviationJudge(truth, made, progress)

    def run(self, rewritten: Callable[[], ir.Model]) -> tuple[Deviation, ...]:
        """See ``prove``."""
        made = self.made
        if made.to == "fp32" and not made.is_ir:
            return self._rewrites(made.file)
        small = made.rewritten.is_file() and file_bytes(made.rewritten) <= made_file.MOST_BYTES
        tried = made.to != "fp32" and small
        if tried:
            self._rewrites(made.rewritten)
        try:
            found = self._file()
            if made.is_ir and made.to != "fp32":
                self._whole_numbers(rewritten)
            return found
        except (ConversionError, EngineError) as error:
            if not tried:  # the rewrites first: what they do is not the engine's fault
                self._rewrites(made.rewritten if made.rewritten.is_file() else rewritten())
            if isinstance(error, EngineError) and made.is_ir:
                raise InputError(error.what, where=made.file.name, fix=f"write {made.file.stem}.onnx") from error
            if isinstance(error, EngineError):
                raise ConversionError(error.what, where=made.file.name, fix=_FIXES[made.to]) from error
            if made.is_ir and made.to != "fp32":  # then OpenVINO's FP32: what that does is not the format's fault
                self._in_openvino(made.rewritten if made.rewritten.is_file() else rewritten())
            raise

    def _rewrites(self, model: ir.Model | Path) -> tuple[Deviation, ...]:
        """In FP32, in the engine that ran the original; in ONNX Runtime if another did."""
        chosen, engine = self.truth.cases, self.truth.engine or TRIALS
        feeds = [case.feed for case in chosen]
        try:
            try:
                got = run_all(model, TRIALS, feeds, free=True)
            except EngineError:
                if engine is TRIALS:
                    raise
                got = run_all(model, engine, feeds, free=True)
        except EngineError as error:
            raise RewriteError(error.what, self.made.file.name) from error
        return self._judge.judge(chosen, got, "fp32", lambda what: RewriteError(what, self.made.file.name))

    def _in_openvino(self, model: ir.Model | Path) -> None:
        chosen = self.truth.of_kinds(plausible=True)
        got = run_all(model, ENGINES["openvino"], [case.feed for case in chosen], free=True)
        self._judge.judge(chosen, got, self.made.to, self._other_engine)

    def _whole_numbers(self, rewritten: Callable[[], ir.Model]) -> None:
        """Positions and classes tip over in 16 bits, and are not compared there: OpenVINO has to have them in FP32."""
        chosen = [
            replace(case, expected={n: a for n, a in case.expected.items() if a.dtype.kind in "iub"})
            for case in self.truth.of_kinds(plausible=True)
        ]
        if chosen and chosen[0].expected:
            model = self.made.rewritten if self.made.rewritten.is_file() else rewritten()
            got = run_all(model, ENGINES["openvino"], [case.feed for case in chosen], free=True)
            self._judge.judge(chosen, got, "fp32", self._other_engine)

    def _file(self) -> tuple[Deviation, ...]:
        """The file itself in its engine and format; 16 bits on plausible inputs only."""
        made = self.made
        chosen = self.truth.of_kinds(plausible=None if made.to == "fp32" else True)
        got = self._results(chosen)
        if made.to != "fp32":
            self._warn_of_large()
        return self._judge.judge(chosen, got, made.to, self._refusal)

    def _refusal(self, what: str) -> ConversionError:
        if self.made.to == "fp32":
            return self._other_engine(what)
        fix = _FIXES[self.made.to]
        if self.made.to == "fp16" and not any(case.kind == kinds.DATA for case in self.truth.cases):
            fix = f"give --data, which shows what has to stay FP32, or {fix}"
        return ConversionError(what, where=self.made.file.name, fix=fix)

    def _other_engine(self, what: str) -> ConversionError:
        what = f"OpenVINO computes something else than ONNX Runtime of the same graph{self._parted()}: {what}"
        return ConversionError(what, where=self.made.file.name, fix=f"write {self.made.file.stem}.onnx")

    def _parted(self) -> str:
        """``, from Conv 'conv1' on``, or nothing where that cannot be told."""
        file, options = self.made.rewritten, Options(shapes=())
        if not file.is_file() or file_bytes(file) > _MOST_COMPARED_BYTES:
            return ""
        samples = [Sample("", case.feed) for case in self.truth.cases if case.kind == self._judge.kind]
        least_db = self.made.rounding.least_sqnr_db("fp32")
        try:
            found = parting(frontends.load(file), samples, TRIALS, ENGINES["openvino"], options, least_db)
        except (EngineError, ModelError):
            return ""
        return "" if found is None else f", from {found.op_type} '{found.node}' on"

    def _results(self, chosen: Sequence[Case]) -> list[Arrays]:
        made, feeds = self.made, [case.feed for case in chosen]
        got = run_all(made.file, made.engine, feeds, free=True)
        if made.to == "fp16" and not made.is_ir:
            got = self._in_fp16_arithmetic(feeds) or got
        return got

    def _in_fp16_arithmetic(self, feeds: list[Arrays]) -> list[Arrays] | None:
        """What the file gives where every operator rounds to FP16; None where that is too large to try.

        Engines on processors without FP16 arithmetic run such a file in FP32, and nothing overflows there.
        """
        if file_bytes(self.made.file) > made_file.MOST_BYTES:
            self.progress.warn(
                "the model is too large to try FP16 arithmetic here; checked is the file in FP32 arithmetic"
            )
            return None
        return run_all(rounded(frontends.load(self.made.file)), TRIALS, feeds, free=True)

    def _warn_of_large(self) -> None:
        """16 bits hold whole numbers to 2048 (FP16) or 256 (BF16); larger ones a model may well be fed."""
        chosen = [case for case in self.truth.cases if case.kind == kinds.WHOLE]
        if not chosen:
            return
        got, to = self._results(chosen), self.made.to
        noise = noise_sums([c.expected for c in chosen], got, whole_numbers=False, drawn=self.truth.drawn)
        found = worst_of(kinds.WHOLE, len(chosen), noise)
        if found.sqnr_db < self.made.rounding.least_sqnr_db(to):
            self.progress.warn(
                f"on {kinds.WHOLE} (times, positions in the thousands) {to} leaves {found.sqnr_db:.1f} dB at output "
                f"{found.output}; use fp32 if the model is fed such numbers"
            )
