"""Published files, LXMERT's and CLIP-ViL's: translated at the border, into and out of our names."""
