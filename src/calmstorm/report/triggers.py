"""The seven triggers as the report writes them."""

from __future__ import annotations

from calmstorm.records import Trigger

TRIGGER_NAMES: dict[int, str] = {
    Trigger.PREMATURE_SOLVING: "Premature natural-language solving",
    Trigger.FRAGMENTED_CODING: "Fragmented coding",
    Trigger.REDUNDANT_VERIFICATION: "Redundant manual verification",
    Trigger.NO_SANITY_CHECK: "No sanity check",
    Trigger.FLAWED_MODELING: "Flawed reasoning or modeling",
    Trigger.IMPLEMENTATION_ERROR: "Implementation error",
    Trigger.PROTOCOL_VIOLATION: "Protocol violation",
}
"""The seven triggers in words (paper appendix D)."""

TRIGGER_GROUPS = {
    "Code utilisation distrust": (1, 2, 3),
    "Lack of OR expertise": (4, 5, 6),
    "Protocol": (7,),
}
"""The paper's grouping of the triggers."""
