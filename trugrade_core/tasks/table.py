"""The rows of the task table, in the order in which pages show them."""

from __future__ import annotations

from trugrade_core.tasks.task import Capture, Region, Task

CATEGORIES: dict[str, str] = {
    "border_detection": "Where the card ends and where its printed frame lies, from which centering is measured.",
    "corner_analysis": "How sharp the four corners are, and what has happened to them.",
    "edge_analysis": "How clean the four edges are along their whole length.",
    "surface_analysis": "What the face of the card shows: scratches, dents, stains, print lines, creases.",
    "photometric_stereo": "The relief of the card from pictures under several lights.",
    "experimental": "Tasks of your own, brought by a plug-in (entry point trugrade.plugins). None is installed.",
}

CORNER = Region(part="corner", size_mm=(8.0, 8.0))
EDGE = Region(part="edge", size_mm=(22.0, 5.0))
TILES = Region(part="surface", size_mm=(24.0, 24.0), margin_mm=0.0, overlap_mm=4.0)
FACE = Region(part="surface", size_mm=None)

FLAT = "even, diffuse light; no glare; scanner sharpening and auto-exposure off"
RAKING = "one low light from the side, or two scans with the card turned by 90 degrees; grooves along the light vanish"
LAMPS = "8 to 16 fixed lamps on two rings (50 and 70 degrees from the camera axis), one picture for each, linear 12 bit or more"

BORDER_WORDS = """Zoom in until you see pixels. The outer border is the edge of the card stock, not its shadow and not the sleeve.
Put each corner where the two straight sides would meet, also on rounded cards. On a tilted card use the four-corner quad, not a box."""
GRAPHIC_WORDS = """The graphical border is the outer edge of the first printed frame line. Where a card is borderless, draw none and mark it
'nothing there'; where the frame is broken on one side, mark the sample 'unsure' and say why."""
SCORE_WORDS = """Judge what is in the crop alone, not the card you remember. Give the score of the worst thing you see, not the mean.
10: nothing at the zoom given. 9: one fault you have to look for. 8: a fault seen at once by a trained eye. 6: seen by anyone.
4: material is missing or bent. 2: heavy damage. Half steps are for between. In doubt about the picture: 'rescan'; about the card: 'unsure'."""
DAMAGE_WORDS = """Paint every pixel where the coating is gone or the stock is bent, and no more: zoom in until the brush is one to three pixels.
Whitening is exposed paper core; a fibre that stands out is fray. Dust and sleeve marks are no damage: if unsure whether it is dust,
mark the sample 'rescan'."""
SURFACE_WORDS = """One shape for each defect. A scratch is a thin polygon along its length; a print line is factory made, straight, and has no relief;
a dent has no colour of its own. What moves between two scans is dust. If a defect crosses the crop's border, draw what is inside."""
LIGHT_WORDS = """Nothing is drawn here: the truth is measured. Mark pixels that no lamp shows well (glare, shadow) as unusable, and a sample as
'rescan' when a lamp is missing or the card moved between pictures."""

ROWS: tuple[Task, ...] = (
    Task(
        id="border_detection.single_class",
        kind="instances",
        title="Border, one class",
        description="Finds one border of a card as a box and, where the architecture has them, a mask.",
        precision="high: side error in mm",
        speed="fast",
        complexity="low",
        input="whole-card scan, 300 dpi or more, dark or plain ground around the card",
        output=("box", "mask"),
        main_metric="side_error_mm",
        higher_is_better=False,
        classes=("border",),
        architectures=("mask_rcnn", "yolo", "retinanet"),
        capture=Capture(dpi=300, finest_mm=0.2, light=FLAT, images="200 cards or more, of many designs"),
        guidelines=BORDER_WORDS,
    ),
    Task(
        id="border_detection.dual_class",
        kind="instances",
        title="Borders, outer and graphical",
        description="Finds the card's outer edge and its printed inner frame, from which centering is measured.",
        precision="very high: side error in mm of both borders",
        speed="medium",
        complexity="medium",
        input="whole-card scan, 600 dpi or more, dark or plain ground around the card",
        output=("box", "mask"),
        main_metric="side_error_mm",
        higher_is_better=False,
        classes=("outer_border", "graphical_border"),
        architectures=("mask_rcnn", "detectron2", "retinanet", "yolo"),
        capture=Capture(dpi=600, finest_mm=0.1, light=FLAT, images="300 cards or more, of many designs"),
        guidelines=f"{BORDER_WORDS}\n\n{GRAPHIC_WORDS}",
    ),
    Task(
        id="corner_analysis.quality_classification",
        kind="score",
        title="Corner quality",
        description="Gives each corner a grade from 1 to 10 in half steps.",
        precision="high: error in grades, beside the median grade",
        speed="fast",
        complexity="medium",
        input="corner crops at native resolution, 1200 dpi for sharp corners",
        output=("quality_score",),
        main_metric="mae",
        higher_is_better=False,
        classes=(),
        architectures=("resnet", "vision_transformer", "efficientnet"),
        capture=Capture(dpi=600, finest_mm=0.1, light=FLAT, images="2,000 corners or more, 100 or more for each grade"),
        region=CORNER,
        guidelines=SCORE_WORDS,
    ),
    Task(
        id="corner_analysis.damage_detection",
        kind="mask",
        title="Corner damage",
        description="Marks the damaged pixels of a corner, by kind.",
        precision="very high: area in mm², boundary in µm",
        speed="medium",
        complexity="high",
        input="corner crops at native resolution, 1200 dpi for fray",
        output=("damage_mask",),
        main_metric="mean_iou",
        higher_is_better=True,
        classes=("whitening", "fray", "ding", "bend"),
        architectures=("u_net", "deeplabv3", "segment_anything"),
        capture=Capture(dpi=1200, finest_mm=0.05, light=FLAT, images="500 damaged corners or more, 50 for each kind"),
        region=CORNER,
        guidelines=DAMAGE_WORDS,
    ),
    Task(
        id="corner_analysis.sharpness_rating",
        kind="score",
        title="Corner sharpness",
        description="Rates how pointed a corner still is, from 1 to 10 in half steps.",
        precision="high: error in grades, beside the median grade",
        speed="very fast",
        complexity="low",
        input="corner crops at native resolution",
        output=("sharpness_score",),
        main_metric="mae",
        higher_is_better=False,
        classes=(),
        architectures=("custom_cnn", "feature_pyramid"),
        capture=Capture(
            dpi=600, finest_mm=0.1, light=FLAT, images="1,000 corners or more, of one corner type (square or rounded)"
        ),
        region=CORNER,
        guidelines=SCORE_WORDS,
    ),
    Task(
        id="edge_analysis.wear_detection",
        kind="mask",
        title="Edge wear",
        description="Marks the worn pixels along an edge, by kind.",
        precision="very high: area in mm², boundary in µm",
        speed="medium",
        complexity="high",
        input="edge strips at native resolution, 1200 dpi for rough cut",
        output=("wear_mask",),
        main_metric="mean_iou",
        higher_is_better=True,
        classes=("whitening", "chipping", "rough_cut"),
        architectures=("u_net", "deeplabv3", "segment_anything"),
        capture=Capture(dpi=1200, finest_mm=0.05, light=FLAT, images="500 worn strips or more, 50 for each kind"),
        region=EDGE,
        guidelines=DAMAGE_WORDS,
    ),
    Task(
        id="edge_analysis.quality_rating",
        kind="score",
        title="Edge quality",
        description="Gives each stretch of edge a grade from 1 to 10 in half steps.",
        precision="high: error in grades, beside the median grade",
        speed="fast",
        complexity="medium",
        input="edge strips at native resolution",
        output=("quality_score",),
        main_metric="mae",
        higher_is_better=False,
        classes=(),
        architectures=("resnet", "vision_transformer", "efficientnet"),
        capture=Capture(dpi=600, finest_mm=0.1, light=FLAT, images="2,000 strips or more, 100 or more for each grade"),
        region=EDGE,
        guidelines=SCORE_WORDS,
    ),
    Task(
        id="surface_analysis.defect_detection",
        kind="instances",
        title="Surface defects",
        description="Finds each defect of the surface as an outline with its kind.",
        precision="high: recall at a fixed number of false alarms a card",
        speed="medium",
        complexity="high",
        input="surface tiles at native resolution, 1200 dpi for hairlines",
        output=("defect_instances",),
        main_metric="mask_map",
        higher_is_better=True,
        classes=("scratch", "dent", "stain", "print_line", "crease"),
        architectures=("fpn", "swin_transformer", "convnext"),
        capture=Capture(
            dpi=1200, finest_mm=0.05, light=RAKING, images="2,000 defects or more, 200 of each kind held out"
        ),
        region=TILES,
        guidelines=SURFACE_WORDS,
    ),
    Task(
        id="surface_analysis.quality_rating",
        kind="score",
        title="Surface quality",
        description="Gives the face of a card a grade from 1 to 10 in half steps.",
        precision="medium: error in grades, beside the median grade",
        speed="fast",
        complexity="medium",
        input="the card's face at native resolution",
        output=("quality_score",),
        main_metric="mae",
        higher_is_better=False,
        classes=(),
        architectures=("efficientnet", "resnet", "densenet"),
        capture=Capture(dpi=600, finest_mm=0.1, light=RAKING, images="2,000 cards or more, 100 or more for each grade"),
        region=FACE,
        guidelines=SCORE_WORDS,
    ),
    Task(
        id="surface_analysis.damage_classification",
        kind="tags",
        title="Surface damage kinds",
        description="Says which kinds of damage the face of a card shows.",
        precision="medium: macro F1 over the kinds",
        speed="fast",
        complexity="low",
        input="surface tiles or the card's face",
        output=("damage_classes",),
        main_metric="macro_f1",
        higher_is_better=True,
        classes=("scratch", "dent", "stain", "wear", "crease"),
        architectures=("multi_head_cnn", "attention_network"),
        capture=Capture(dpi=600, finest_mm=0.1, light=RAKING, images="1,000 tiles or more, 100 or more for each kind"),
        region=TILES,
        guidelines=SURFACE_WORDS,
    ),
    Task(
        id="photometric_stereo.surface_normal_estimation",
        kind="map",
        title="Surface normals",
        description="Estimates which way each point of the card faces.",
        precision="very high: slope error after taking the card's plane out",
        speed="slow",
        complexity="very high",
        input="pictures of one card under known lights, pixel-aligned",
        output=("xyz_normals",),
        main_metric="mean_angular_error_deg",
        higher_is_better=False,
        classes=(),
        architectures=("ps_net", "neural_surface_reconstruction"),
        capture=Capture(
            dpi=600, finest_mm=0.1, light=LAMPS, images="50 cards or more under all lamps, with flat fields"
        ),
        guidelines=LIGHT_WORDS,
    ),
    Task(
        id="photometric_stereo.reflectance_analysis",
        kind="map",
        title="Reflectance",
        description="Separates what the card is printed with from how the light falls on it.",
        precision="high: relighting error",
        speed="slow",
        complexity="very high",
        input="pictures of one card under known lights, pixel-aligned",
        output=("reflectance_map",),
        main_metric="relighting_error",
        higher_is_better=False,
        classes=(),
        architectures=("reflectance_net", "brdf_estimation"),
        capture=Capture(
            dpi=600, finest_mm=0.1, light=LAMPS, images="50 cards or more under all lamps, with flat fields"
        ),
        guidelines=LIGHT_WORDS,
    ),
    Task(
        id="photometric_stereo.depth_reconstruction",
        kind="map",
        title="Relief",
        description="Builds the height of the card's surface from its slopes.",
        precision="high: height error in µm after taking the plane out",
        speed="slow",
        complexity="very high",
        input="pictures of one card under known lights, or its normals",
        output=("depth_map",),
        main_metric="height_rmse_um",
        higher_is_better=False,
        classes=(),
        architectures=("depth_net", "multi_view_stereo"),
        capture=Capture(
            dpi=600, finest_mm=0.1, light=LAMPS, images="50 cards or more under all lamps, with flat fields"
        ),
        guidelines=LIGHT_WORDS,
    ),
)
