"""What the paper reports: Table 1."""

# Table 1: mean and deviation by experiment, epoch and method
PAPER = {
    "mnist": {
        5: {"uniform": (0.79, 0.11), "oracle, k = 1": (0.73, 0.11), "oracle, k = 0.5": (0.56, 0.04)}
        | {"approx, k = 1": (0.83, 0.06), "approx, k = 0.5": (0.65, 0.05)},
        10: {"uniform": (0.64, 0.10), "oracle, k = 1": (0.56, 0.07), "oracle, k = 0.5": (0.52, 0.05)}
        | {"approx, k = 1": (0.60, 0.06), "approx, k = 0.5": (0.61, 0.04)},
        20: {"uniform": (0.56, 0.07), "oracle, k = 1": (0.53, 0.08), "oracle, k = 0.5": (0.47, 0.04)}
        | {"approx, k = 1": (0.53, 0.06), "approx, k = 0.5": (0.54, 0.06)},
    },
    "cifar10": {
        50: {"uniform": (12.33, 0.39), "oracle, k = 1": (10.68, 0.65), "oracle, k = 0.5": (9.58, 0.16)}
        | {"approx, k = 1": (11.54, 0.55), "approx, k = 0.5": (10.78, 0.09)},
        100: {"uniform": (10.19, 0.24), "oracle, k = 1": (9.74, 0.44), "oracle, k = 0.5": (9.20, 0.55)}
        | {"approx, k = 1": (9.71, 0.14), "approx, k = 0.5": (9.90, 0.47)},
        150: {"uniform": (7.97, 0.10), "oracle, k = 1": (7.77, 0.14), "oracle, k = 0.5": (7.44, 0.14)}
        | {"approx, k = 1": (7.61, 0.07), "approx, k = 0.5": (7.64, 0.27)},
    },
    "ptb": {
        10: {"uniform": (184.5, 1.56), "oracle, k = 1": (178.3, 2.47), "oracle, k = 0.5": (187.2, 1.61)}
        | {"approx, k = 1": (179.4, 6.20), "approx, k = 0.5": (180.0, 4.78)},
        30: {"uniform": (138.6, 0.60), "oracle, k = 1": (137.8, 1.53), "oracle, k = 0.5": (139.0, 0.72)}
        | {"approx, k = 1": (136.2, 2.98), "approx, k = 0.5": (134.3, 2.19)},
        50: {"uniform": (130.3, 0.63), "oracle, k = 1": (129.9, 1.27), "oracle, k = 0.5": (130.5, 0.21)}
        | {"approx, k = 1": (128.2, 2.02), "approx, k = 0.5": (127.4, 1.45)},
    },
}
