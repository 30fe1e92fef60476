"""From matrix.yaml to proven images: the verbs behind generate.py and the Makefile.

`model` holds the matrix as typed objects and is the only place that knows which images, variants and tags there are;
each verb (generate, lock, build, …) is a module of its own that asks it.
"""
