"""``sam3-tvm annotate``."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.cli.annotate.faults import what_to_type
from sam3_tvm.cli.annotate.plan import print_plan
from sam3_tvm.cli.annotate.summary import complain_of_faults, print_summary, warn_of_sizes
from sam3_tvm.cli.interrupts import Interrupts
from sam3_tvm.cli.like import (
    LikeBox,
    LikeOption,
    NegativeLikeOption,
    check_likes,
    make_exemplars,
    parse_likes,
)
from sam3_tvm.cli.options import ArtifactFolder, JsonForTables, Threads
from sam3_tvm.cli.paths import local_path
from sam3_tvm.cli.prompts import long_phrase
from sam3_tvm.cli.terminal import complain, counting
from sam3_tvm.cli.tiling import OnceOption, OverlapOption, TileOption, parse_tiling
from sam3_tvm.errors import UsageError, as_argument

if TYPE_CHECKING:
    from sam3_tvm.annotate import Cluster, Dataset, Listed, Usage
    from sam3_tvm.annotate.classes import Phrase
    from sam3_tvm.annotate.cluster import LoadFinder

__all__ = ["command"]


def command(
    artifact: ArtifactFolder,
    pictures: Annotated[
        list[Path],
        typer.Argument(
            help="Pictures; folders, with those in them; quoted patterns such as 'shots/**/*.jpg'; "
            "LIST.txt with a path on each line; LIST.json in COCO's layout.",
            metavar="PICTURES",
            parser=local_path,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="The dataset's folder.",
            metavar="DATASET",
            parser=local_path,
        ),
    ],
    text: Annotated[
        list[str],
        typer.Option(
            help="A phrase to look for, and what to call what it finds where that isn't the "
            "phrase; repeatable.",
            metavar="PHRASE[=CATEGORY]",
        ),
    ] = [],
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Phrases from a file, YAML or JSON: a list of them, or categories with a phrase "
            "or a list of phrases each.",
            metavar="FILE",
            parser=local_path,
        ),
    ] = None,
    like: LikeOption = [],
    negative_like: NegativeLikeOption = [],
    tile: TileOption = None,
    overlap: OverlapOption = None,
    once: OnceOption = False,
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            help="coco, yolo (both yolo-segment and yolo-detect), geojson, gpkg, labelme, cvat, "
            "parquet; several with commas; repeatable.",
            metavar="NAMES",
        ),
    ] = ["coco"],
    threshold: Annotated[
        float, typer.Option(help="Objects with a higher score are kept, 0 to 1.", metavar="SCORE")
    ] = 0.5,
    images: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the pictures that LIST.json names; by default the list's.",
            metavar="FOLDER",
            parser=local_path,
        ),
    ] = None,
    sheet: Annotated[
        int,
        typer.Option(
            min=0,
            max=240,
            help="So many objects with the lowest scores are drawn to lowest-scores.png; 0 for "
            "no sheet.",
            metavar="N",
        ),
    ] = 48,
    copy: Annotated[
        bool,
        typer.Option("--copy", help="Copy pictures into YOLO's folders, rather than link to them."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be done, and measure in what time; write nothing."
        ),
    ] = False,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray", help="Share the work among processes of this machine, of --threads each (1)."
        ),
    ] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Share it among the machines of a cluster of Ray's: HOST:PORT, or auto on one of "
            "them. All see the artifact, the pictures and DATASET at the same paths.",
            metavar="ADDRESS",
        ),
    ] = None,
    as_json: JsonForTables = False,
    threads: Threads = None,
) -> None:
    """Annotate a whole collection of pictures, and write a dataset.

    What is looked for are phrases, and what looks like boxes on a few pictures.

    Interrupted or killed at any moment, the same command goes on, and the
    dataset is the same to the byte. With another --format it adds that, without
    looking at a picture again. A picture that cannot be read is named and passed
    over; the exit code is 1 then.

    [bold]Examples[/bold]

    sam3-tvm annotate sam3-cpu photos/ --text cat --text dog -o pets
    sam3-tvm annotate sam3-cpu yard/ --text "forklift truck=vehicle" -o yard-set
    sam3-tvm annotate sam3-cpu 'shots/**/*.jpg' --classes names.yaml -o shots-set
    sam3-tvm annotate sam3-cpu photos/ --text cat -o pets --format yolo,cvat
    sam3-tvm annotate sam3-cpu shelves/ --like one.jpg:40,25,110,180=jar -o jars
    sam3-tvm annotate sam3-cpu photos/ --text cat -o pets --dry-run
    sam3-tvm annotate sam3-cpu photos/ --text cat -o pets --ray
    """
    with what_to_type(output):
        from sam3_tvm.annotate import (
            Cluster,
            Dataset,
            PhraseFinder,
            TiledPhraseFinder,
            check_place,
            chosen_formats,
            load_phrase_finder,
        )

        if not 0 <= threshold <= 1:
            raise UsageError(f"--threshold {threshold:g}: scores lie between 0 and 1")
        likes, tiling = parse_likes(like, negative_like), parse_tiling(tile, overlap, once)
        phrases = _asked(text, classes, likes)
        written = chosen_formats(name.strip() for names in formats for name in names.split(","))
        listed = _listed(pictures, images)
        check_place(output, listed)
        cluster = Cluster(ray_address, threads) if ray or ray_address is not None else None

        import sam3_tvm

        model = sam3_tvm.load(artifact, threads=threads)
        exemplars = make_exemplars(model, likes)
        asked = (model, phrases, threshold, exemplars)
        find = PhraseFinder(*asked) if tiling is None else TiledPhraseFinder(*asked, tiling)
        load = partial(
            load_phrase_finder,
            artifact.absolute(),
            phrases,
            threshold,
            like=exemplars,
            tiling=tiling,
        )
        with _what_pictures_warn_of():
            if dry_run:
                print_plan(find, listed, output, written, as_json)
                return
            with Dataset(output, find, listed) as dataset:
                stopped, usage = _look(dataset, threads, cluster, load)
                if stopped is None:
                    paths = dataset.write(written, sheet, copy)
                    print_summary(dataset, paths, usage, as_json)
                    warn_of_sizes(dataset)
    for phrase, read in find.read.items():
        complain(long_phrase(phrase, read, "the phrase"))  # it may be of --classes
    if stopped is not None:
        left = len(dataset.pictures) - dataset.done
        complain(
            f"interrupted with {left} of {len(listed)} pictures left: what was found is in "
            f"{as_argument(output)}, and the same command goes on"
        )
        raise typer.Exit(128 + stopped)
    complain_of_faults(dataset)
    if dataset.failed or dataset.unwritten:
        raise typer.Exit(1)


def _asked(text: list[str], classes: Path | None, likes: list[LikeBox]) -> tuple[Phrase, ...]:
    """The phrases of the command line and of its file, which go with the examples."""
    from sam3_tvm.annotate import read_classes
    from sam3_tvm.annotate.classes import phrases_of
    from sam3_tvm.runtime.concepts.sharing import share_out

    if not text and classes is None and not likes:
        raise UsageError(
            "nothing to look for: give --text PHRASE, --classes FILE or --like "
            "PICTURE:x0,y0,x1,y1=NAME"
        )
    given = [*text, *(read_classes(classes) if classes is not None else ())]
    phrases = phrases_of(given) if given else ()
    check_likes(share_out([(p.text, p.category) for p in phrases], likes))
    if not phrases and (nameless := [one for one in likes if one.name is None]):
        raise UsageError(
            f"{nameless[0].typed}: has no category; give --text PHRASE, or =CATEGORY after the box"
        )
    return phrases


def _listed(pictures: list[Path], images: Path | None) -> list[Listed]:
    """The pictures that are meant; says what a list leaves in doubt."""
    from sam3_tvm.annotate import collect

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        listed = collect(pictures, images)
    for one in heard:
        complain(f"warning: {one.message}")
    return listed


@contextmanager
def _what_pictures_warn_of() -> Iterator[None]:
    """Warnings of single pictures aren't shown: of long phrases it is said when all is done."""
    from sam3_tvm.runtime.concepts.detector import PhraseWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PhraseWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _look(
    dataset: Dataset, threads: int | None, cluster: Cluster | None, load: LoadFinder
) -> tuple[int | None, Usage | None]:
    """Look at the pictures that are left, here or on a cluster.

    Returns:
        The signal that stopped it, or None; what was used, if there was anything to look at.
    """
    from sam3_tvm.annotate import UsageMeter

    total, before = len(dataset.pictures), dataset.done
    if not dataset.left:
        return None, None
    with ExitStack() as stack:
        if cluster is not None:
            # Before signals are heard: Ray would hear them instead.
            stack.enter_context(cluster)
        at_hand = "the pictures at hand" if cluster is None else "the next batch"
        interrupted = stack.enter_context(Interrupts(at_hand))
        tell = stack.enter_context(counting("pictures", total, before))
        meter = UsageMeter(threads)
        steps = (
            dataset.run_on(cluster, load, interrupted)
            if cluster is not None
            else (1 for _ in dataset.run(interrupted=interrupted))
        )
        for count in accumulate(steps, initial=before):
            tell(count)
        # One that comes after the last picture stops nothing.
        looked = dataset.done + len(dataset.failed)
        stopped = (interrupted.signal or signal.SIGINT) if looked < total else None
        usage = meter.usage(looked - before)
    return stopped, usage if cluster is None else cluster.usage(usage)
