"""The only room that instruments torch: a model goes in, a ``ModelGraph`` comes out."""
