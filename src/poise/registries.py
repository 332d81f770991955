"""Every registry there is. They stand here, and not beside what they hold, so that names can be looked up before
anything is imported that takes long; ``poise.spaces.space.SPACES`` and the like are the same objects, with their types.
"""

from __future__ import annotations

from typing import Any

from poise.declared import fields_made
from poise.registry import Registry, source_of

SELECTIONS: Registry[Any] = Registry("selection", "poise.selection", "selects")
SLOTS: dict[str, Registry[Any]] = {
    slot: SELECTIONS if slot == SELECTIONS.kind else Registry(slot, "poise.methods", "fills")
    for slot in fields_made(source_of("poise.methods.method"), "Method")
}
"""Those that `Method` has."""
METHODS: Registry[Any] = Registry("method", "poise.methods", "preset")
NOTATIONS: Registry[Any] = Registry("notation", "poise.notations", "NOTATIONS.add")
SPACES: Registry[Any] = Registry("space", "poise.spaces", "SPACES.add")
SOURCES: Registry[Any] = Registry("data source", "poise.data.sources", "SOURCES.add")
DIAGNOSTICS: Registry[Any] = Registry("diagnostic", "poise.diagnostics", "diagnoses")
TASKS: Registry[Any] = Registry("task", "poise.tasks", "TASKS.add")
EXPORTS: Registry[Any] = Registry("export", "poise.export", "EXPORTS.add")
TABLES: Registry[Any] = Registry("table", "poise.truth.tables", "TABLES.add")
CONTESTANTS: Registry[Any] = Registry("contestant", "poise.bench.contestants", "CONTESTANTS.add")
TRACKERS: Registry[Any] = Registry("tracker", "poise.trackers", "TRACKERS.add")
EXECUTORS: Registry[Any] = Registry("executor", "poise.jobs", "EXECUTORS.add")
