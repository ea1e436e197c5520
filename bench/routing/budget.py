"""How long runs take, to be said beforehand and while they go on."""

from typing import Final

from bench.fleet.trying import Trial
from bench.routing.scenes import Plan, Scene
from bench.routing.settings import Settings

_MILLISECONDS: Final = {
    "conversation": (0.9, 3.5),
    "azure": (0.4, 1.2),
    "shared-prefix": (1.0, 3.0),
    "bursts": (1.0, 3.1),
    "lora": (1.0, 1.8),
    "chat": (0.8, 2.0),
    "agentic": (1.8, 4.1),
    "reasoning": (2.4, 3.4),
    "unshared": (0.7, 2.1),
}
"""Workload → CPU of one request, with a baseline and with a picker, where the loop turns as below."""
_USUAL: Final = (1.2, 3.0)
_YARDSTICK: Final = 27.0
"""Milliseconds for a million turns of an empty loop (see `results.yardstick`) there."""
FIRST_RUNS: Final = 6
NEXT_RUNS: Final = 4
"""Runs of a search, for the first seed and for each further one; about."""


def seconds(trial: Trial) -> float:
    """CPU time of one run; about."""
    baseline, picker = _MILLISECONDS.get(trial.workload, _USUAL)
    return trial.requests * (baseline if trial.policy.baseline else picker) / 1e3


def search_runs(seed: int) -> int:
    return FIRST_RUNS if seed == 1 else NEXT_RUNS


def total(settings: Settings, plan: Plan) -> float:
    """CPU seconds of everything; about."""
    return sum(_scene(settings, scene) for scene in plan.scenes)


def estimate(cpu: float, jobs: int, yardstick_ms: float) -> float:
    """Seconds that they take on this machine."""
    return cpu / jobs * yardstick_ms / _YARDSTICK


def _scene(settings: Settings, scene: Scene) -> float:
    searched = sum(search_runs(seed) for seed in settings.searched_seeds)
    played = settings.seeds * (len(scene.fractions) + scene.matched)
    of = {spec: seconds(scene.trial(settings, spec, 1.0, 1)) for spec in scene.policies}
    searching = sum(of[spec] for spec in scene.searched)
    if scene.matched and not scene.base:
        searching += sum(of[spec] for spec in scene.field.references)
    return searched * searching + played * sum(of.values())
