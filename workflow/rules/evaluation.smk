rule evaluate:
    input:
        **evaluation_inputs(
            processor=f"{PROCESSOR}/processor.safetensors",
            transformer=transformer_of,
            plain=ancient(plain_beside),
        ),
    output:
        **evaluation_outputs(PROCESSOR, told=True),
        card=f"{PROCESSOR}/README.md",
    threads: CONFIG.runtime["threads"]
    resources:
        **EVALUATING,
    params:
        task=task_flags,
        models=model_flags,
        measures=MEASURED,
        protocol=CONFIG.protocol,
        arithmetic=ARITHMETIC,
    shell:
        "ra evaluate --data {params.data:q} {params.task}"
        " {params.models} --recognizers {input.recognizers:q} {params.measures}"
        " --protocol {params.protocol}"
        " {params.arithmetic} {resources.machine} {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


use rule evaluate as evaluate_no_processing with:
    input:
        **evaluation_inputs(),
    output:
        **evaluation_outputs(NO_PROCESSING, told=True),


# The images before any degradation: the ceiling of all tasks.
use rule evaluate as evaluate_clean with:
    input:
        **evaluation_inputs(),
    output:
        **evaluation_outputs(CLEAN, told=True),
    params:
        task="",
        models="--model-sr clean",
