"""Where a verdict begins: the one place for the probe's thresholds, each with its reason. All of them are ours.

The paper behind the two kinds (Gu et al. 2026, arXiv 2601.17865) says what separates them: D-models, whose P_token
"exhibits large step-to-step variability and poor alignment" with the task, and E-models, whose P_token is "more stable and
better aligned". Its own cut-offs could not be had, so these are synthgen's, and a verdict from them is synthgen's too.

A is the mean total variation between P_token and the stated distribution, V the mean total variation between the
P_token of neighbouring steps. By the triangle inequality V cannot exceed about 2·A, so there is no model above that line.
The yardstick is a sampler that is right on average but jittery: at every step it multiplies the odds of each value by
exp(s·z), z standard normal (`samplers.jitter`). The numbers below are its places over the standard tasks; the report
draws them as computed, and a test holds the text here to them.
"""

from __future__ import annotations

ALIGNED = 0.15
"""E-like: A at most this. At a typical step one draw in seven would have to be another value. The jittery sampler
of s = ½ (odds off by a factor of 1.6) stands at 0.14; a model that ignores the task and is uniform, at 0.30."""

STABLE = 0.10
"""E-like: V at most this. The jittery sampler of s = ¼, odds off by a factor of 1.3, stands at 0.10."""

MISALIGNED = 0.25
"""D-like: A at least this. At a typical step a quarter of the mass is in the wrong place; the jittery sampler of s = 1
(odds off by a factor of e) stands at 0.27."""

UNSTABLE = 0.20
"""D-like: V at least this. From one step to the next a fifth of the mass moves; the jittery sampler of s = ½ stands at
0.20. Dealing from a shuffled deck, the mildest exact balancing there is, stays at 0.07."""

SHARP = 0.5
"""P_token counts as sharp where its entropy is at most this share of the stated distribution's."""

DRIFTS = 0.3
"""A list counts as drifting where the mean P_token of its halves are this far apart in total variation. The jittery
sampler of s = 1 shows 0.1 by chance, a shuffled deck 0.2 by its growing debts."""

STICKS = 0.3
"""Draws count as sticking where this share more of them repeat the one before than by chance."""

DEPENDENT = 0.01
"""Draws of one list count as depending on each other where the runs test gives a smaller p-value."""

OUTSIDE = 0.05
"""Mass outside the stated values that is worth a word of advice."""

WORTHWHILE = 0.02
"""The least gain in A for which another temperature is advised; it must be a fifth of A too."""

FLOOR = (0.05, 0.95)
"""Shares of exact samplers' results that stay below the two ends of the noise floor."""

FIELD_OFF = 0.06
"""TV of a recipe field's mean P_token up to which it counts as following its target: as much as synthgen lets a declared
distribution differ from its own tuples (`marginals.LARGEST_TV`)."""
