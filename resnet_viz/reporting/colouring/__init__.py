"""What the nodes of a diagram are coloured by, beside their kind.

``quantities.COLOURINGS`` has one row per value of ``RenderOptions.color_by``. A colouring
gives every op a number, a sign and some words, and may widen the edges; how that is painted
is the same for all of them.
"""
