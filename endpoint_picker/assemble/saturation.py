"""Which detector says how full the pool is, and what detectors read of other plugins."""

from typing import Final

from endpoint_picker.admission.saturation import Concurrency, Utilization
from endpoint_picker.assemble.made import Made
from endpoint_picker.config.schema import Reference
from endpoint_picker.plugin import Detector
from endpoint_picker.producers.inflight import InFlight

WHERE: Final = "flowControl.saturationDetector"


def detector(made: Made) -> Detector:
    """The one that is named, else the default one: that needs no declaration, and joins no profile then."""
    reference = made.config.flow_control.saturation_detector or Reference(plugin_ref=Utilization.type)
    name = reference.plugin_ref
    if name == Utilization.type and name not in made.instances:
        made.ensure(name)
    return made.expected(name, Detector, "a saturation detector", where=WHERE)  # type: ignore[type-abstract]


def connect(made: Made) -> None:
    """Tell concurrency detectors how the producer that they name charges tokens."""
    for plugin in made.of(Concurrency):
        producer = made.instances.get(plugin.parameters.in_flight_load_producer_name)
        if isinstance(producer, InFlight):
            plugin.with_output = producer.parameters.add_estimated_output_tokens
