"""Writes a package of Kubeflow Pipelines. A program of its own, run by the Python of the SDK's environment.

It reads what to write as JSON from its standard input: see `trainer.pipeline.kubeflow.package.PackagePlan`. Tasks are
lightweight Python components: of all kinds, the only one that both a cluster and the SDK's local runner carry out.
"""

import importlib.util
import json
import sys
import tempfile
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

from kfp import compiler, components, dsl, kubernetes

# The SDK takes the source of a component from its file, and its inputs from its signature.
_COMPONENT = '''
@dsl.component(base_image={image!r}, install_kfp_package=False)
def {function}({inputs}, made: dsl.Output[dsl.Artifact], run_id: dsl.OutputPath(str), outcome: dsl.OutputPath(str)):
    """{summary}"""
    import json
    from typing import Any

{body}

    the_run, came_of_it, files = carry_out({step!r}, {arguments})
    with open(made.path, "w", encoding="utf-8") as file:
        json.dump(files, file, indent=1)
    made.metadata.update({{"run": the_run, "step": {step!r}, "outputs": files["outputs"]}})
    with open(run_id, "w", encoding="utf-8") as file:
        file.write(the_run)
    with open(outcome, "w", encoding="utf-8") as file:
        file.write(came_of_it)
'''


def component_text(step: dict[str, Any], image: str, body: str) -> str:
    """Return the source of the component of one step.

    Args:
        step: its ``name``, and the steps ``after`` which it comes.
        image: in which it runs.
        body: source of `trainer.pipeline.kubeflow.task.carry_out`.
    """
    begins = not step["after"]
    inputs = ["project: str", "run: str"]
    inputs += ["trigger: str", "reason: str"] if begins else []
    inputs += [f"after_{name}: dsl.Input[dsl.Artifact]" for name in step["after"]]
    return _COMPONENT.format(
        image=image,
        function=step["name"],
        inputs=", ".join(inputs),
        summary=f"Step {step['name']} of a production run.",
        body=textwrap.indent(body, "    "),
        step=step["name"],
        arguments="project, run, trigger, reason" if begins else 'project, run, "", ""',
    )


def load_components(plan: dict[str, Any], body: str, folder: Path) -> ModuleType:
    """Write the components' source into a file, and load it."""
    path = folder / "components_of_the_steps.py"
    text = "\n".join(component_text(step, plan["image"], body) for step in plan["steps"])
    path.write_text(f"from kfp import dsl\n{text}", encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def make_pipeline(plan: dict[str, Any], steps: ModuleType) -> Any:  # noqa: ANN401 - the SDK's
    """Return the pipeline: a task for each step, joined by what each reads of the others."""

    def production(
        project: str = plan["project"],
        run: str = "",
        trigger: str = "kubeflow",
        reason: str = "a run of Kubeflow Pipelines",
    ) -> None:
        tasks: dict[str, Any] = {}
        for step in plan["steps"]:
            arguments: dict[str, Any] = {"project": project}
            if step["after"]:
                arguments["run"] = tasks[step["after"][0]].outputs["run_id"]
                arguments |= {f"after_{name}": tasks[name].outputs["made"] for name in step["after"]}
            else:
                arguments |= {"run": run, "trigger": trigger, "reason": reason}
            task = getattr(steps, step["name"])(**arguments)
            # What must be carried out again, our own keys know; the SDK would look at the parameters alone.
            task.set_caching_options(enable_caching=False)
            for claim, path in plan["volumes"]:
                kubernetes.mount_pvc(task, pvc_name=claim, mount_path=path)
            for each in plan["secrets"]:
                kubernetes.use_secret_as_env(task, each["secret"], {each["key"]: each["variable"]})
            tasks[step["name"]] = task

    return dsl.pipeline(name=plan["name"], description=plan["description"])(production)


def main() -> None:
    """Write the package that is asked for, and let the SDK read it again."""
    plan = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        steps = load_components(plan, plan["task"], Path(folder))
        compiler.Compiler().compile(make_pipeline(plan, steps), plan["out"])
    components.load_component_from_file(plan["out"])


if __name__ == "__main__":
    main()
