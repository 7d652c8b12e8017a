"""Are tables of processors trained in bf16 within the intervals of those trained in fp32?

    python tools/precision.py FP32 BF16

Both are folders of one data set's results (results/embedded) that hold the same processors, of
several seeds. Prints, per task and figure, the means over seeds, the 95 % interval of fp32's
(Student's, over seeds), whether bf16's mean is inside, and the paired difference.
"""

import sys
from pathlib import Path

import pandas as pd

from ra.evaluation.statistics import over_seeds

KEYS = ["task", "p_model", "lambda", "training_r", "evaluation_r", "metric"]
SHOWN = ["psnr", "top1"]


def read(folder: Path) -> pd.Series:
    """Value by KEYS and seed."""
    tables = [pd.read_csv(path) for path in sorted(folder.glob("*/*/*/*/seed*/evaluation.csv"))]
    table = pd.concat(tables)
    return table[table.metric.isin(SHOWN)].set_index([*KEYS, "seed"])["value"]


def main() -> None:
    """Print the table of both precisions."""
    fp32, bf16 = (read(Path(folder)).rename(Path(folder).name) for folder in sys.argv[1:])
    both = pd.concat({"fp32": fp32, "bf16": bf16}, axis=1, join="inner")
    rows = []
    for keys, seeds in both.groupby(level=KEYS, sort=False):
        task, p_model, _, _, judge, metric = keys
        interval = over_seeds(list(seeds.fp32))
        difference = over_seeds(list(seeds.bf16 - seeds.fp32))
        low, high, mean = interval["low"], interval["high"], seeds.bf16.mean()
        rows.append(
            {
                "task": task,
                "P": p_model,
                "figure": "PSNR, dB" if metric == "psnr" else f"{judge} top-1, %",
                "fp32": f"{seeds.fp32.mean():.1f}",
                "95 % interval": f"{low:.1f} to {high:.1f}",
                "bf16": f"{mean:.1f}",
                "inside": "yes" if low <= mean <= high else "no",
                "bf16 - fp32": "{difference:+.1f} [{low:+.1f}, {high:+.1f}]".format(**difference),
                "p": f"{difference['p']:.2g}",
                "seeds": len(seeds),
            }
        )
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
