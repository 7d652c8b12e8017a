# Flags of the `ra` command, and what a job needs of its machine. Every value is quoted.
import json
import shlex


def flags(settings):
    """Command-line flags of a mapping: None is left out, a truth value is --KEY or --no-KEY."""
    words = []
    for key, value in settings.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        if isinstance(value, bool):
            key, values = key if value else f"no_{key}", []
        if value is not None:
            texts = [json.dumps(v) if isinstance(v, dict) else str(v) for v in values]
            words += [f"--{key.replace('_', '-')}", *map(shlex.quote, texts)]
    return " ".join(words)


def chosen(settings, *keys):
    return {key: settings[key] for key in keys}


def without(settings, *keys):
    return {key: value for key, value in settings.items() if key not in keys}


def fixed(text):
    """A parameter that Snakemake takes as it is; in others braces are wildcards."""
    return lambda wildcards: text


def task_flags(wildcards):
    return flags({"task": wildcards.task, **CONFIG.tasks[wildcards.task]})


def objective_flags(wildcards):
    return flags(CONFIG.objective_settings.get(wildcards.objective, {}))


MEASURED = fixed(flags({"metrics": CONFIG.metrics, **CONFIG.measure_settings}))


def processor_flags(network):
    """The architecture, and its settings under their own names."""
    return flags({"sr_arch" if key == "arch" else key: value for key, value in network.items()})


def network_flags(wildcards):
    """Architecture and settings of the processor, and of the transformer of objectives with one."""
    found = [processor_flags(CONFIG.processor)]
    if OBJECTIVES.get(wildcards.objective).needs_transformer:
        settings = CONFIG.transformer.items()
        found.append(flags({f"transformer_{key}": value for key, value in settings}))
    return " ".join(found)


def model_flags(wildcards, input):
    """Processor and transformer of an evaluation; without a processor, of no processing."""
    return flags(
        {
            "model_sr": input.get("processor", "none"),
            "model_transformer": input.get("transformer") or None,
            "plain": input.get("plain") or None,
        }
    )


# Reading takes memory and time, but no GPU; tables take minutes.
READING = dict(
    gpu=0,
    mem_mb=CONFIG.runtime["mem_mb"],
    runtime=CONFIG.runtime["minutes"],
    plugins=flags({"plugins": CONFIG.plugins or None}),
)
WRITING = {**READING, "runtime": 10}


def machine(*keys, gpus=min(CONFIG.runtime["gpus"], 1)):
    """What a job needs of its machine, and the flags of ``keys``; a change re-runs nothing."""
    # A job that takes a GPU where it finds one also counts as one here.
    gpu = max(gpus, 1) if GPUS and workflow.local_exec else gpus
    return {**READING, "gpu": gpu, "machine": flags(chosen(CONFIG.runtime, *keys))}


# Sums depend on threads and precision, so they belong to the experiment.
ARITHMETIC = flags(chosen(CONFIG.runtime, "threads", "precision"))
THREADS = flags(chosen(CONFIG.runtime, "threads"))
EVALUATING = machine("workers", "device", "jobs_per_gpu")
ANALYSING = machine("device", "jobs_per_gpu")
# Several GPUs: one process each. `--` keeps torchrun from taking flags of `ra` for its own.
TEAM = CONFIG.runtime["gpus"]
TEAM_TRAINING = {
    **machine("workers", "device", "jobs_per_gpu", "checkpoint_seconds", "step", gpus=TEAM),
    "ra": f"torchrun --standalone --nproc-per-node {TEAM} -m -- ra" if TEAM > 1 else "ra",
}
