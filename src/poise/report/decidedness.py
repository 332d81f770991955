"""How decided choices are, as texts of tables."""

from __future__ import annotations

from poise.diagnostics.decidedness import Decidedness, Lead
from poise.report.page import Grid


def verdict(lead: Lead) -> str:
    """A lead in units of what chance explains, and over whom if that is all."""
    edge = "edge " if lead.of == "edge" else ""
    if lead.ratio < 0:
        return f"{edge}not by the alphas"
    ratio = "> 100" if lead.ratio > 100 else f"{lead.ratio:.2f}"
    return f"{edge}barely: or {lead.rival} ({ratio})" if lead.barely else f"{edge}{ratio}"


def leads_grid(found: Decidedness) -> list[Grid]:
    """A table of all choices, if anything is known of them."""
    head = ("group", "row", "kept", "next", "lead", "chance", "lead / chance")
    rows = [
        (lead.group, lead.row, "edge" if lead.of == "edge" else lead.kept, lead.rival, f"{lead.margin:.3g}",
         f"{lead.noise:.3g}", verdict(lead))
        for lead in found.leads
    ]  # fmt: skip
    return [Grid(rows, head)] if rows else []
