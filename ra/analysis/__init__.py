"""Why and how far it transfers: what `snakemake analysis` adds to the default tables."""
