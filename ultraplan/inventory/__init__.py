"""Inventories: which hosts there are, in which groups, with which variables. The public names of the package:

`load_inventory` reads sources, `match` finds the hosts of a pattern (`PatternError`), `references_in` lists secrets,
`as_list` and `as_graph` show an inventory. YAML is imported when a source is read, not before.
"""

from ultraplan.inventory.load import load_inventory
from ultraplan.inventory.model import Group, Host, Inventory
from ultraplan.inventory.patterns import PatternError, match
from ultraplan.inventory.references import references_in
from ultraplan.inventory.render import as_graph, as_list

__all__ = ["Group", "Host", "Inventory", "PatternError", "as_graph", "as_list", "load_inventory", "match",
           "references_in"]
