rule tables:
    input:
        evaluations=table_evaluations,
        images=table_images,
    output:
        tidy=f"{TABLES}/all.csv",
        accuracy=[
            shown_table(task, "accuracy", f"{task_title(task)}: accuracy") for task in CONFIG.tasks
        ],
        quality=shown_table("quality", "quality", "Image quality"),
        more=[shown_table(name, "more", title) for name, title in MORE_TABLES.items()],
        formats=expand(
            f"{TABLES}/{{table}}.{{format}}",
            table=[*CONFIG.tasks, "quality", *MORE_TABLES],
            format=["csv", "md", "tex"],
        ),
    localrule: True
    resources:
        **WRITING,
    params:
        recognizers=flags({"recognizers": CONFIG.evaluate_recognizers}),
        clusters=CONFIG.clusters,
        paper="--paper" if CONFIG.paper else "",
    shell:
        "ra table {params.recognizers} --significance --clusters {params.clusters}"
        " {params.paper}"
        " --evaluations {input.evaluations:q} {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


rule transfer_matrix:
    input:
        matrix_evaluations,
    output:
        matrix=[
            shown(
                f"{TABLES}/transfer_{task}.png",
                "transfer",
                "3 Transfer",
                {"task": task_title(task)},
            )
            for task in CONFIG.tasks
        ],
        own=expand(f"{TABLES}/table1_{{task}}.png", task=CONFIG.tasks),
        formats=expand(
            f"{TABLES}/{{table}}_{{task}}.{{format}}",
            table=["transfer", "table1"],
            task=CONFIG.tasks,
            format=["csv", "md", "html", "tex"],
        ),
    localrule: True
    resources:
        **WRITING,
    params:
        recognizers=flags({"recognizers": CONFIG.evaluate_recognizers}),
    shell:
        "ra transfer-matrix {params.recognizers} --evaluations {input:q}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"
