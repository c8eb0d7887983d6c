"""parse -> options -> keys -> values: each leaves out what is wrong in what the step before found sound, and tells it.

So all mistakes are told at once, and none that only follows from another: a key is looked for among the keys of those
options that exist, and a value is judged where its type is right.
"""
