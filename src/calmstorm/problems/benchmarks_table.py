"""The table of published benchmark versions: names, sources, terms and counts. The data themselves are not here.

The same benchmark goes round with different texts and different labels, so a score means something only together with
the version it was measured on. Every line was read from the repository at the revision it names; the counts are those
after the rules of the line were applied.
"""

from __future__ import annotations

from enum import StrEnum

from calmstorm.records import LabelStatus, Record


class Kind(StrEnum):
    """What a version may be used for."""

    TEST = "test"
    """Problems to evaluate on; never train on them."""
    TRAINING = "training"
    """A training sample; here to be looked at and checked for contamination."""
    DECLARATIONS = "declarations"
    """Texts with structured models and no objective value."""


class Source(Record):
    """A repository that publishes versions."""

    repository: str
    """Owner and name on GitHub."""
    revision: str
    """Commit the files were read at."""
    licence: str
    """Licence of the repository; what the data were taken from may bind further."""


class Version(Record):
    """One published file of one benchmark, with the rules that reading it needs."""

    benchmark: str
    version: str
    """What tells it from the other versions of the benchmark, usually who published it."""
    file: str
    """Where it is looked for under the folder of benchmark data."""
    source: Source
    path: str
    """Where it is published in the repository; ends with `*` where it was packed from one folder a problem."""
    statuses: dict[LabelStatus, int]
    """Rows by status of their label, as they must come out."""
    kind: Kind = Kind.TEST
    licence: str
    """Strictest terms known: of the repository or of what the data were taken from."""
    results: bool = False
    """An answer is a dict of named results, of which one is the objective."""
    rounded: bool = False
    """Labels were rounded to two decimals: an answer within half a unit of the second counts as equal."""
    blank: int = 0
    """Rows that were published without a text."""
    sentinel_means: LabelStatus = LabelStatus.SENTINEL
    """What a magic number (-9999, -99999) means in this version, where that is known."""
    statuses_file: str = ""
    """File beside it that says why a label is missing: rows of `id, status`."""
    default: bool = False
    """The version that the bare name of the benchmark stands for, and that splits are drawn from."""
    hub: tuple[str, str] | None = None
    """Data set and file on the Hugging Face hub where the same file is published, unpinned."""

    @property
    def name(self) -> str:
        """Name on the command line and in results: `benchmark/version`."""
        return f"{self.benchmark}/{self.version}"

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(self.statuses.values())

    @property
    def address(self) -> str:
        """Page of the published file."""
        kind, path = ("tree", self.path.removesuffix("/*")) if self.path.endswith("*") else ("blob", self.path)
        return f"https://github.com/{self.source.repository}/{kind}/{self.source.revision}/{path}"


def _source(repository: str, revision: str, licence: str) -> Source:
    return Source(repository=repository, revision=revision, licence=licence)


_NONE = "none stated"
_COMPETITION = _source("nl4opt/nl4opt-competition", "49f1e0d66b7fdcd33305a7f281c2a7c13f5620ea", "MIT")
_MAMO = _source("FreedomIntelligence/Mamo", "2c91069dee5c1e4db4b899eb176ec987d0251bb3", "CC BY-SA 4.0")
_OPTMATH = _source("optsuite/OptMATH", "f15bbc4477c70db85ad148df8bcc1b780bca0f8c", "Apache-2.0")
_RESOCRATIC = _source("yangzhch6/ReSocratic", "56a638f689abbfd67650121cd4fdbe044e69e86c", "Apache-2.0")
_OPTIMIND = _source("microsoft/OptiGuide", "419cf7b9eee20b6af036abf15152fa775b20c951", "MIT")
_ALPHAOPT = _source("Minw913/AlphaOPT", "2f503b930766b18eed3ef648274b0b272910f334", "MIT")
_OR_R1 = _source("SCUTE-ZZ/OR-R1", "9de48e3b22555e729ec032e7efd00ebaaa8e78d5", "CC BY-NC 4.0")
_SIRL = _source("Cardinal-Operations/SIRL", "8e85194b8f251ec229cc310c2c6e8794ead85682", _NONE)
_SIRL_MAY = _source("Cardinal-Operations/SIRL", "9ca1e91b9b108f2d2bef15a1d0d28aa3ee8f5874", _NONE)
_LLMOPT = _source("antgroup/LLMOPT", "1492dd33e39ea13f1afe32a0adc13d4217334195", _NONE)
_LLM4OR = _source("LLM4OR/LLM4OR", "75962df5ddf531906fda76f8708c658114e63c0e", _NONE)
_ORTHOUGHT = _source("ZJU-TSELab/ORThought", "fb8a5ded1ab5f9759a3f513dc96ecb53ee1043d4", _NONE)
_OR_LLM_AGENT = _source("bwz96sco/or_llm_agent", "dfcc0e79fbe0aea249bf339b919d6843a4807b7e", _NONE)
_RELOOP = _source(
    "junbolian/ReLoop", "bbaeb66c3e3c6e3acf847c50a314c5d2f8f666ec", "ReLoop Research and Education License 1.0"
)

_TERMS = {
    "nl4opt": "labels CC BY-NC 4.0",
    "mamo-easy": "copies CC BY-NC 4.0",
    "mamo-complex": "copies CC BY-NC 4.0",
    "industryor": "CC BY-NC 4.0",
    "nlp4lp": "CC BY-NC 4.0, research use only",
    "or-instruct": "CC BY-NC 4.0",
}
"""Terms that follow the data through every copy."""


def _version(
    name: str,
    file: str,
    source: Source,
    path: str,
    *,
    optimal: int = 0,
    no_optimum: int = 0,
    infeasible: int = 0,
    missing: int = 0,
    sentinel: int = 0,
    **rules: object,
) -> Version:
    benchmark, version = name.split("/")
    counts = {
        LabelStatus.OPTIMAL: optimal,
        LabelStatus.NO_OPTIMUM: no_optimum,
        LabelStatus.INFEASIBLE: infeasible,
        LabelStatus.UNBOUNDED: 0,
        LabelStatus.MISSING: missing,
        LabelStatus.SENTINEL: sentinel,
    }
    parts = [source.licence, *([_TERMS[benchmark]] if benchmark in _TERMS else [])]
    return Version.model_validate(
        {
            "benchmark": benchmark,
            "version": version,
            "file": file,
            "source": source,
            "path": path,
            "statuses": counts,
            "licence": "; ".join(dict.fromkeys(parts)),
            **({"rounded": True} if source is _LLMOPT else {}),
            **rules,
        }
    )


_INFEASIBLE = LabelStatus.INFEASIBLE

VERSIONS: tuple[Version, ...] = (
    # ------------------------------------------------------------ NL4Opt
    _version(
        "nl4opt/sirl", "nl4opt/sirl__NL4OPT.jsonl", _SIRL, "test_data/NL4OPT.jsonl",
        optimal=228, no_optimum=17, default=True,
    ),
    _version(
        "nl4opt/optmath", "nl4opt/optmath__NL4OPT.json", _OPTMATH, "benchmark/NL4OPT.json",
        optimal=228, no_optimum=17,
    ),
    _version(
        "nl4opt/hf2024", "nl4opt/hf2024__NL4OPT_with_optimal_solution.json", _OR_LLM_AGENT,
        "data/datasets/NL4OPT_with_optimal_solution.json",
        optimal=223, no_optimum=14, sentinel=8,
        hub=("CardinalOperations/NL4OPT", "NL4OPT_with_optimal_solution.json"),
    ),
    _version(
        "nl4opt/llmopt", "nl4opt/llmopt__nl4opt_test.jsonl", _LLMOPT, "data/testset/nl4opt_test.jsonl", optimal=230
    ),
    _version(
        "nl4opt/lpwp288", "nl4opt/packed_llm4or_lpwp288.jsonl", _LLM4OR, "static/datasets/NL4Opt/*",
        optimal=281, missing=7,
    ),
    _version(
        "nl4opt/resocratic", "nl4opt/resocratic__NL4OPT-E.json", _RESOCRATIC, "data/NL4OPT-E.json",
        optimal=289, results=True,
    ),
    _version(
        "nl4opt/competition-dev", "nl4opt/competition__dev.jsonl", _COMPETITION, "generation_data/dev.jsonl",
        missing=99, kind=Kind.DECLARATIONS,
    ),
    _version(
        "nl4opt/competition-test", "nl4opt/competition__test.jsonl", _COMPETITION, "generation_data/test.jsonl",
        missing=289, kind=Kind.DECLARATIONS,
    ),
    # ------------------------------------------------------------ NLP4LP
    _version(
        "nlp4lp/orthought", "nlp4lp/orthought__summary_nlp4lp.json", _ORTHOUGHT,
        "datasets/summary/summary_nlp4lp.json",
        optimal=242, no_optimum=8, missing=14, default=True, statuses_file="nlp4lp/packed_orthought_answers.jsonl",
    ),
    _version(
        "nlp4lp/llm4or", "nlp4lp/packed_llm4or_nlp4lp269.jsonl", _LLM4OR, "static/datasets/NLP4LP/*",
        optimal=241, missing=27, sentinel=1,
    ),
    _version(
        "nlp4lp/llmopt", "nlp4lp/llmopt__nlp4lp.jsonl", _LLMOPT, "data/testset/nlp4lp.jsonl", optimal=241, sentinel=1
    ),
    # ------------------------------------------------------------ MAMO
    _version(
        "mamo-easy/mamo", "mamo_easylp/mamo__mamo_easy_lp.jsonl", _MAMO,
        "data/optimization/Easy_LP/mamo_easy_lp.jsonl", optimal=652,
    ),
    _version(
        "mamo-easy/optmath", "mamo_easylp/optmath_sirl__MAMO_EasyLP.json", _SIRL, "test_data/MAMO_EasyLP.json",
        optimal=652, default=True, hub=("CardinalOperations/MAMO", "MAMO_EasyLP.json"),
    ),
    _version(
        "mamo-easy/sirl", "mamo_easylp/sirl__MAMO_EasyLP_fixed.jsonl", _SIRL, "test_data/MAMO_EasyLP_fixed.jsonl",
        optimal=641, infeasible=1, sentinel_means=_INFEASIBLE,
    ),
    _version(
        "mamo-easy/llmopt", "mamo_easylp/llmopt__mamo_easy_test.jsonl", _LLMOPT, "data/testset/mamo_easy_test.jsonl",
        optimal=652,
    ),
    _version(
        "mamo-easy/llm4or", "mamo_easylp/llm4or__Mamo_easy_lp_clean.jsonl", _LLM4OR,
        "static/clean_benchmarks/Mamo/Mamo_easy_lp_clean.jsonl", optimal=545,
    ),
    _version(
        "mamo-complex/mamo", "mamo_complexlp/mamo__mamo_complex_lp.jsonl", _MAMO,
        "data/optimization/Complex_LP/mamo_complex_lp.jsonl", optimal=211,
    ),
    _version(
        "mamo-complex/optmath", "mamo_complexlp/optmath_sirl__MAMO_ComplexLP.json", _SIRL,
        "test_data/MAMO_ComplexLP.json",
        optimal=211, default=True, hub=("CardinalOperations/MAMO", "MAMO_ComplexLP.json"),
    ),
    _version(
        "mamo-complex/sirl", "mamo_complexlp/sirl__MAMO_ComplexLP_fixed.jsonl", _SIRL,
        "test_data/MAMO_ComplexLP_fixed.jsonl",
        optimal=202, infeasible=1, sentinel_means=_INFEASIBLE,
    ),
    _version(
        "mamo-complex/llmopt", "mamo_complexlp/llmopt__mamo_complex_test.jsonl", _LLMOPT,
        "data/testset/mamo_complex_test.jsonl", optimal=211,
    ),
    _version(
        "mamo-complex/llm4or", "mamo_complexlp/llm4or__Mamo_complex_lp_clean.jsonl", _LLM4OR,
        "static/clean_benchmarks/Mamo/Mamo_complex_lp_clean.jsonl", optimal=111,
    ),
    _version(
        "mamo-complex/optimind", "mamo_complexlp/optimind__optimind_cleaned_classified_mamo_complex.csv", _OPTIMIND,
        "optimind/data/optimind_cleaned_classified_mamo_complex.csv", optimal=210,
    ),
    # ------------------------------------------------------------ IndustryOR
    _version(
        "industryor/sirl-v2", "industryor/sirl__IndustryOR_fixedV2.json", _SIRL, "test_data/IndustryOR_fixedV2.json",
        optimal=100, default=True,
    ),
    _version(
        "industryor/sirl-v1", "industryor/sirl__IndustryOR_fixed.json", _SIRL_MAY, "test_data/IndustryOR_fixed.json",
        optimal=100,
    ),
    _version(
        "industryor/or-llm-agent", "industryor/or_llm_agent__IndustryOR.json", _OR_LLM_AGENT,
        "data/datasets/IndustryOR.json", optimal=100, hub=("CardinalOperations/IndustryOR", "IndustryOR.json"),
    ),
    _version(
        "industryor/optimind", "industryor/optimind__optimind_cleaned_classified_industryor.csv", _OPTIMIND,
        "optimind/data/optimind_cleaned_classified_industryor.csv", optimal=99,
    ),
    _version(
        "industryor/orthought", "industryor/orthought__summary_industryor.json", _ORTHOUGHT,
        "datasets/summary/summary_industryor.json",
        optimal=82, missing=1, statuses_file="industryor/packed_orthought_answers.jsonl",
    ),
    _version(
        "industryor/2024", "industryor/llm4or__original2024_dataset.jsonl", _LLM4OR,
        "static/datasets/IndustryOR/dataset.jsonl", optimal=97, sentinel=3,
    ),
    _version(
        "industryor/llmopt", "industryor/llmopt__industryor.jsonl", _LLMOPT, "data/testset/industryor.jsonl",
        optimal=97, sentinel=3,
    ),
    _version(
        "industryor/llm4or", "industryor/llm4or__clean_IndustryOR.jsonl", _LLM4OR,
        "static/clean_benchmarks/IndustryOR.jsonl", optimal=42,
    ),
    # ------------------------------------------------------------ OptMATH
    _version(
        "optmath/optmath", "optmath_bench/optmath__OptMATH_Bench.json", _OPTMATH, "benchmark/OptMATH_Bench.json",
        optimal=166, default=True,
    ),
    _version(
        "optmath/sirl-166", "optmath_bench/sirl__OptMATH_Bench_166.jsonl", _SIRL, "test_data/OptMATH_Bench_166.jsonl",
        optimal=166,
    ),
    _version(
        "optmath/sirl-193", "optmath_bench/sirl__OptMATH_Bench_193.jsonl", _SIRL, "test_data/OptMATH_Bench_193.jsonl",
        optimal=193,
    ),
    _version(
        "optmath/llmopt", "optmath_bench/llmopt__optmath_bench.jsonl", _LLMOPT, "data/testset/optmath_bench.jsonl",
        optimal=166,
    ),
    _version(
        "optmath/optimind", "optmath_bench/optimind__optimind_cleaned_classified_optmath.csv", _OPTIMIND,
        "optimind/data/optimind_cleaned_classified_optmath.csv", optimal=128, missing=2, blank=2,
    ),
    # ------------------------------------------------------------ OptiBench
    _version(
        "optibench/resocratic", "optibench/resocratic__OptiBench.json", _RESOCRATIC, "data/OptiBench.json",
        optimal=605, results=True, default=True,
    ),
    _version(
        "optibench/alphaopt", "optibench/alphaopt__optibench.json", _ALPHAOPT,
        "data/optimization_tasks/clean/optibench.json", optimal=403,
    ),
    _version(
        "optibench/sirl", "optibench/sirl__OptiBench.jsonl", _SIRL, "test_data/OptiBench.jsonl",
        optimal=605, rounded=True,
    ),
    _version(
        "optibench/llmopt", "optibench/llmopt__optibench.jsonl", _LLMOPT, "data/testset/optibench.jsonl", optimal=605
    ),
    _version(
        "optibench/llm4or", "optibench/llm4or__clean_ReSocratic.jsonl", _LLM4OR,
        "static/clean_benchmarks/ReSocratic.jsonl", optimal=403, results=True,
    ),
    # ------------------------------------------------------------ ComplexOR
    _version(
        "complexor/llmopt", "complexor/llmopt__complexor.jsonl", _LLMOPT, "data/testset/complexor.jsonl",
        optimal=18, default=True,
    ),
    _version(
        "complexor/llm4or", "complexor/packed_llm4or_complexor44.jsonl", _LLM4OR, "static/datasets/ComplexOR/*",
        optimal=44,
    ),
    _version(
        "complexor/orthought", "complexor/orthought__summary_complexor.json", _ORTHOUGHT,
        "datasets/summary/summary_complexor.json",
        optimal=17, infeasible=1, statuses_file="complexor/packed_orthought_answers.jsonl",
    ),
    # ------------------------------------------------------------ others
    _version(
        "icml-task3/llmopt", "icml_task3/llmopt__task3_test.jsonl", _LLMOPT, "data/testset/task3_test.jsonl",
        optimal=410, default=True,
    ),
    # The next three were not at hand: source, shape and counts are as the collection that we read describes them.
    _version(
        "logior/orthought", "logior/orthought__summary_logior.json", _ORTHOUGHT,
        "datasets/summary/summary_logior.json", optimal=92, default=True,
    ),
    _version(
        "bwor/or-llm-agent", "bwor/or_llm_agent__BWOR.json", _OR_LLM_AGENT, "data/datasets/BWOR.json",
        optimal=80, no_optimum=2, default=True,
    ),
    _version(
        "retailopt/reloop", "retailopt/reloop__RetailOpt-190.jsonl", _RELOOP, "data/RetailOpt-190.jsonl",
        optimal=190, default=True,
    ),
    _version(
        "or-instruct/or-r1", "train_or_instruct/or_r1__OR-Instruct-Data-100.json", _OR_R1,
        "datasets/OR-Instruct-Data-3K/OR-Instruct-Data-100.json",
        missing=100, kind=Kind.TRAINING, default=True,
    ),
    _version(
        "gurobi-examples/sirl", "train_sirl/sirl__gurobi_examples_OR_test.parquet", _SIRL,
        "SIRLTrain/trainset/gurobi_examples_OR_test.parquet", optimal=84, kind=Kind.TRAINING, default=True,
    ),
)  # fmt: skip
"""Every version, the benchmarks in the order of the paper's Table 4."""
