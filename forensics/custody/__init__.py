"""Evidence bundles: all that a run says of one image in one file, and its check on a bare machine.

`bundle` gathers the parts from a run; `container` is the file, `verify` its check. The last two
import nothing but Python's standard library.
"""
