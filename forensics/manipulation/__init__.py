"""Which processing did an image, or a part of it, undergo?

Residual co-occurrences and a linear classifier, and the same as a network that is trained as a
whole. "Recasting Residual-based Local Descriptors as Convolutional Neural Networks" (Cozzolino,
Poggi, Verdoliva 2017, doi:10.1145/3082031.3083247).
"""
