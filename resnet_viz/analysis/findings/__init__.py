"""The rules of the diagnosis, one file per kind of trouble.

``analysis.diagnose`` puts them in order and says how to add one. A rule is a pure
function of what was measured; ``explaining`` is how a cause silences its symptoms.
"""
