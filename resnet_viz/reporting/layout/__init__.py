"""Where everything in a diagram stands: boxes within boxes, columns, lanes, coordinates.

``grouping`` makes the boxes, ``lifting`` cuts edges at their walls, ``plan`` orders each box
without sizes, ``coordinates`` gives the numbers; ``layout.js`` is the twin of the last.
"""
