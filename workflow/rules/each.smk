# What each rule with a command has, made once: its log and its benchmark beside its first output,
# under the command's first word; the command's help as message; the folders of data and output.
from ra.cli.parser import summary

for one in workflow.rules:
    command = one.shellcmd or ""
    if "{log:q}" in command and not one.log:
        paths, named, one.log_modifier = one.ruleinfo.output
        one.benchmark_modifier = one.log_modifier
        first = [*paths, *named.values()][0]
        folder = os.path.dirname(first if isinstance(first, str) else first[0])
        word = re.match(r"(?:ra|{resources.ra}) (\w+)", command)[1]
        one.set_log(f"{folder}/{word}.log")
        one.benchmark = f"{folder}/{word}.benchmark.tsv"
    if "{log:q}" in command and not one.message:
        name = re.match(r"(?:ra|{resources.ra}) ([\w-]+)", command)[1]
        one.message = summary(name).rstrip(".") + ": {output[0]}"
    if "{params.save:q}" in command and "save" not in one.params.keys():
        one.set_params(save=lambda wildcards, output: os.path.dirname(output[0]))
    if "{params.data:q}" in command and "data" not in one.params.keys():
        one.set_params(data=lambda wildcards, input: os.path.dirname(input.data))
