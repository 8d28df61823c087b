"""What each figure is, for whoever reads a report without this project at hand."""

METHOD = (
    (
        "coverage",
        "Number of distinct values. Before and after are compared at the same number of records, the larger "
        "table rarefied exactly: Σ 1 − C(n−c, m)/C(n, m).",
    ),
    (
        "entropy",
        "In nats. Plug-in: −Σ p̂ ln p̂, a figure of these records, exact, and rarefied where before and after are "
        "compared. Estimate of the source: Chao, Wang & Jost 2013, with a 95 % interval from the delete-one jackknife "
        "and the χ² law of the squared part; in simulation it holds the truth in 93 to 97 % of samples. ≥: under 90 % "
        "sample coverage the estimate may be far too low, so only a lower bound is given, which held in at least "
        "95 %. exp H is the number of equally likely values with that entropy.",
    ),
    (
        "sample coverage",
        "Good–Turing, 1 − f1/n: the share of the source's mass on values already seen, with a 95 % score interval "
        "(Esty 1983). Chao1 estimates from below how many values the source has; in brackets, the lower end of its "
        "95 % interval (Chao 1987).",
    ),
    (
        "p",
        "Goodness of fit by parametric bootstrap: how often as many draws from the declared target show at least "
        "this TV, (1 + simulated that do)/(1 + simulated). One p-value per field: of many, some are small by chance; "
        "the verdict takes their number into account.",
    ),
    (
        "TV, JS, KL, W",
        "Distance between the data and the declared target. TV = ½ Σ |p̂ − p|, the share of records that "
        "would have to change; JS and KL(data ‖ target) in nats. KL is infinite when a record lies outside. W, of "
        "numbers and dates: Wasserstein-1, how far values would have to move on average, in their own unit or days. "
        "Outside: records whose value the target gives no chance. Missed: values of the target that no record has.",
    ),
    (
        "floor",
        "The same distance for as many draws from the target itself, simulated; 95 % of such draws stay at "
        "or below it. Off: above the limit that all tested fields together keep with 97.5 % chance."
        " Borderline: between the two, where one good field in twenty is expected.",
    ),
    (
        "false alarms",
        "Four families of tests: fields against their targets, pairs against their joint target, dependence between "
        "fields, drift. In each, data drawn from the target itself gives any alarm with a chance of 2.5 % at most "
        "(Bonferroni), so in all four together at most one perfect dataset in ten does.",
    ),
    (
        "pairs",
        "TV between two fields together and their declared joint distribution, with its simulated floor. Fields of more "
        "than 12 values are grouped by the target: ordered ones in fifths, others in the nine most frequent values and "
        "the rest.",
    ),
    (
        "exact KL",
        "KL(target ‖ model) = leak + shape, computed on the token trie without sampling: leak is the mass "
        "outside the target set, shape how it is spread inside.",
    ),
    (
        "text",
        "Tokens are separated by white space; before and after have the same number of records, 1,000 at most. "
        "distinct-1, distinct-2: different tokens, or pairs of them, over all. Compression: UTF-8 bytes per byte "
        "after zlib. Repeated 5-grams: share of sequences of five tokens that also stand in another record. "
        "Near-duplicates: share of records whose 5-character shingles overlap by a Jaccard index of 0.8 or more "
        "with another record's. Openings: the first three tokens.",
    ),
    (
        "dependence",
        "Mutual information I = Σ p̂(a,b) ln p̂(a,b)/p̂(a)p̂(b), less its mean under independence. Cramér's V, "
        "bias-corrected (Bergsma 2013), from 0 to 1. Tested by the χ² law of 2n·I where all expected counts "
        "reach 20, else by 200 random tables with the same margins and a gamma curve through their mean and "
        "variance; a p-value near its limit, exactly, by as many random tables as that takes (Besag & Clifford 1991). "
        "Called real below 2.5 % over the number of pairs; drift, below 2.5 % over the number of fields.",
    ),
    (
        "reject rate",
        "Share of attempts that gave no record. By value: over the attempts whose text shows a value of the field, "
        "those cut off or garbled before it are unknown. p: that the field's other values are rejected as often, by "
        "Fisher's exact test, adjusted for the number of all values tested (Holm 1979). 95 %: Wilson's interval. "
        "Moved: TV between the values of all these attempts and those of the accepted ones.",
    ),
    (
        "novelty",
        "Share of records, and of distinct values, that stand in the tuples the model was tuned on: memorised, or met "
        "again by chance, which is sure where a field has few values. For text: the mean Jaccard index of 5-character "
        "shingles of 500 texts at most with the most alike of 20,000 tuned ones at most, beside that of tuned texts "
        "among themselves.",
    ),
    (
        "other spelling",
        "Share of accepted answers, among the first 1,000 of a run, whose tokens are not those that the tokenizer makes "
        "of their text. Exact KL counts only the tokenizer's own, so it leaves this mass out.",
    ),
)
