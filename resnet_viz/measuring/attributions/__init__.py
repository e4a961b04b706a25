"""What each part of an input contributes, by Captum's methods."""
