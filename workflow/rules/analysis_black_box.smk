# A recognizer known only by its answers; without one of the user's, a recognizer of the experiment
# behind a command.
BLACK_BOX = f"{ANALYSES}/black_box"


if shown_to_black_box() and (hidden_recognizer() or OWN_BOX):
    ANALYSIS += [f"{BLACK_BOX}/agreement.md"]


rule black_box:
    input:
        data=PREPARED,
        plain=[f"{plain}/processor.safetensors" for plain, _ in shown_to_black_box()],
        aware=[f"{aware}/processor.safetensors" for _, aware in shown_to_black_box()],
        recognizer=hidden_recognizer(),
    output:
        answers=f"{BLACK_BOX}/answers.csv",
        table=f"{BLACK_BOX}/agreement.csv",
        markdown=f"{BLACK_BOX}/agreement.md",
        sheet=f"{BLACK_BOX}/sheet.csv",
        key=f"{BLACK_BOX}/key.csv",
    threads: CONFIG.runtime["threads"]
    resources:
        **ANALYSING,
    params:
        settings=black_box_flags,
        program=black_box_program,
        threads=THREADS,
    shell:
        "ra black-box --data {params.data:q} --plain {input.plain:q} --ra {input.aware:q}"
        " {params.settings} {params.program} {params.threads} {resources.machine}"
        " {resources.plugins} --save-dir {params.save:q} > {log:q} 2>&1"
