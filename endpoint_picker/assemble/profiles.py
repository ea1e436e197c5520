"""Scheduling profiles, as written → as run: handler and picker are filled in where none is named."""

from endpoint_picker.assemble import stages
from endpoint_picker.assemble.made import Made
from endpoint_picker.config.schema import ProfileBlock, Weighted
from endpoint_picker.plugin import Filter, Picker, ProfileHandler, Scorer
from endpoint_picker.scheduling.handler import Single
from endpoint_picker.scheduling.pickers import MaxScore
from endpoint_picker.scheduling.profile import Keeping, Picking, Scoring, WeightedProfile
from endpoint_picker.scheduling.scheduler import Scheduler


def scheduler(made: Made) -> Scheduler:
    blocks = made.config.profiles or (_profile_of_all(made),)
    handler = _handler(made, len(blocks))
    if not made.of(Picker):  # type: ignore[type-abstract]
        made.ensure(MaxScore.type)
    stages.connect(made, [block.name for block in blocks])
    profiles = [_profile(made, block, f"schedulingProfiles[{i}]") for i, block in enumerate(blocks)]
    return Scheduler(handler, profiles, made.wiring)


def _profile_of_all(made: Made) -> ProfileBlock:
    """The profile where none is written: every filter, scorer and picker."""
    names = [name for name, plugin in made.instances.items() if isinstance(plugin, Filter | Scorer | Picker)]
    return ProfileBlock(name="default", plugins=tuple(Weighted(plugin_ref=name) for name in names))


def _handler(made: Made, profiles: int) -> ProfileHandler:
    handlers = [name for name, plugin in made.instances.items() if isinstance(plugin, ProfileHandler)]
    if len(handlers) > 1:
        found = ", ".join(handlers)
        raise made.wrong(f"multiple profile handlers found: {found}; keep one", at=made.path(handlers[1]))
    if not handlers and profiles > 1:
        raise made.wrong(
            "no profile handler configured; with more than one profile, add one to plugins",
            at="schedulingProfiles[1]",
        )
    handler = made.instances[handlers[0]] if handlers else made.ensure(Single.type)
    if isinstance(handler, Single) and profiles > 1:
        raise made.wrong(
            "SingleProfileHandler cannot support multiple scheduling profiles; keep one profile",
            at="schedulingProfiles[1]",
        )
    if not isinstance(handler, ProfileHandler):
        raise made.wrong(f'plugin "{handler.name}" (type {handler.type}) is not a profile handler')
    return handler


def _profile(made: Made, block: ProfileBlock, where: str) -> WeightedProfile:
    """Plugins that are no filter, scorer or picker may be listed, and have no effect here."""
    filters, scorers, pickers = list[Keeping](), list[Scoring](), list[Picking]()
    for position, placed in enumerate(block.plugins):
        plugin = made.referred(placed.plugin_ref, f"{where}.plugins[{position}]")
        if isinstance(plugin, Filter):
            filters.append(Keeping(plugin.name, plugin.type, plugin))
        if isinstance(plugin, Scorer):
            scorers.append(Scoring(plugin.name, plugin.type, plugin, placed.weight))
        if isinstance(plugin, Picker):
            pickers.append(Picking(plugin.name, plugin.type, plugin))
    if len(pickers) > 1:
        names = ", ".join(picking.name for picking in pickers)
        message = f"{where}: profile '{block.name}' has more than one picker: {names}; keep one"
        raise made.wrong(message, at=where)
    picking = pickers[0] if pickers else _any_picker(made)
    return WeightedProfile(block.name, made.wiring, filters=filters, scorers=scorers, picker=picking)


def _any_picker(made: Made) -> Picking:
    """The first picker there is, for a profile that names none."""
    return next(
        Picking(plugin.name, plugin.type, plugin)
        for plugin in made.instances.values()
        if isinstance(plugin, Picker)
    )
