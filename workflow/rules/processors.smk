rule train:
    input:
        data=PREPARED,
        recognizer=lambda wildcards: [recognizer_file(r) for r in training_names(wildcards)],
        weights=FIRST_WEIGHTS,
        plugins=PLUGIN_FILES,
        files=lambda wildcards: user_files(training_names(wildcards)),
    output:
        **trained(PROCESSOR),
    wildcard_constraints:
        objective=training_with(),
    threads: CONFIG.runtime["threads"]
    resources:
        **TEAM_TRAINING,
    params:
        task=task_flags,
        objective=objective_flags,
        recognizer=lambda wildcards, input: flags({"recognizer": input.recognizer or None}),
        networks=network_flags,
        schedule=flags(CONFIG.processor_schedule),
        arithmetic=ARITHMETIC,
    shell:
        "{resources.ra} train --data {params.data:q} {params.task}"
        " --mode {wildcards.objective} --l {wildcards.l} --arch {wildcards.arch:q}"
        " {params.recognizer} {params.networks} {params.objective} {params.schedule}"
        " --seed {wildcards.seed} {params.arithmetic} {resources.machine} {resources.plugins}"
        " --save-dir {params.save:q} 2> {log:q}"


use rule train as train_with_transformer with:
    output:
        **trained(PROCESSOR, "transformer"),
    wildcard_constraints:
        objective=training_with("transformer"),


use rule train as train_with_recognizer with:
    output:
        **trained(PROCESSOR, "recognizer"),
    wildcard_constraints:
        objective=training_with("recognizer"),


use rule train as train_with_both with:
    output:
        **trained(PROCESSOR, "transformer", "recognizer"),
    wildcard_constraints:
        objective=training_with("transformer", "recognizer"),
