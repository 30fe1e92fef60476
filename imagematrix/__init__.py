"""From matrix.yaml to tested images: the verbs behind generate.py and the Makefile.

`matrix.model` holds the matrix as typed objects: images, variants, tags. Each verb (generate, lock, build, …) is a
module that uses it.
"""
