"""How the results of experiments look: value → view → figures and tables → renderer."""
