"""The paper's tables and figures, one command each: what was printed, and what is measured here.

`registry` names every table and figure; `paper` holds the printed numbers; `catalogue` finds the
configuration file of a setting, built from `recipes`, its time on a GPU from `cost`; `runs` reads
what sweeps and studies left; `entries` and `solve` set both beside each other, `render` and `write`
show them; `session` runs what is missing.
"""
