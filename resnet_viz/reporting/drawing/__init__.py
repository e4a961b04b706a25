"""The diagram: what is in the picture, and the marks it is painted with.

``diagram`` gathers plain JSON from a report; ``painter`` (and ``paint.js``, its twin) paints it.
"""
