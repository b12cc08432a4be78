"""A page to look at a data set and at predictions on: ``clipvil browse``.

``questions`` and ``runs`` are columns, ``filters`` say which rows of them, ``view`` picks these;
``html`` and ``server`` show them.
"""
