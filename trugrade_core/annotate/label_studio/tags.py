"""The tags and attributes of Label Studio 1.23's label configs, as its own documentation lists them."""

from __future__ import annotations


def _words(text: str) -> set[str]:
    """Lower case, as Label Studio compares them."""
    return {word.lower() for word in text.split()}


_LABELLED = "name toName choice maxUsages showInline"
_DRAWN = "opacity fillColor strokeColor strokeWidth"
_ASKED = "name toName required requiredMessage perRegion perItem"
_SHOWN = "visibleWhen whenTagName whenLabelValue whenChoiceValue whenRole"
_POINTS = "pointSize pointStyle snap"
_SMART = "name toName smart smartOnly"

ATTRIBUTES: dict[str, set[str]] = {
    tag: _words(words)
    for tag, words in {
        "Image": "name value valueList smoothing width maxWidth maxHeight height zoom negativeZoom zoomBy grid gridSize "
        "gridColor zoomControl brightnessControl contrastControl rotateControl selectionControl crosshair "
        "horizontalAlignment verticalAlignment defaultZoom crossOrigin",
        "RectangleLabels": f"{_LABELLED} {_DRAWN} canRotate snap value",
        "PolygonLabels": f"{_LABELLED} {_DRAWN} {_POINTS} value",
        "BrushLabels": f"{_LABELLED} {_DRAWN} value",
        "BitmaskLabels": f"{_LABELLED} {_DRAWN} value",
        "EllipseLabels": f"{_LABELLED} {_DRAWN} canRotate value",
        "KeyPointLabels": f"{_LABELLED} {_DRAWN} snap value",
        "VectorLabels": f"{_LABELLED} {_DRAWN} {_POINTS} value closable curves skeleton minPoints maxPoints",
        "Labels": f"{_LABELLED} {_DRAWN} value",
        "Rectangle": f"{_SMART} {_DRAWN} canRotate snap",
        "Polygon": f"{_SMART} {_DRAWN} {_POINTS}",
        "Brush": f"{_SMART} {_DRAWN} choice maxUsages showInline",
        "Bitmask": f"{_SMART} {_DRAWN}",
        "Ellipse": f"{_SMART} {_DRAWN} canRotate",
        "KeyPoint": f"{_SMART} {_DRAWN} snap",
        "Vector": f"{_SMART} {_DRAWN} {_POINTS} closable curves skeleton minPoints maxPoints",
        "MagicWand": f"{_SMART} opacity blurradius defaultthreshold",
        "Label": "value selected maxUsages hint hotkey alias showAlias aliasStyle size background selectedColor html category",
        "Choices": f"{_ASKED} {_SHOWN} choice showInline layout value allowNested",
        "Choice": "value selected alias style hotkey html hint color",
        "Number": f"{_ASKED} {_SHOWN} min max step defaultValue hotkey slider",
        "Rating": f"{_ASKED} {_SHOWN} maxRating defaultValue size icon hotkey",
        "TextArea": f"{_ASKED} {_SHOWN} value placeholder maxSubmissions editable transcription skipDuplicates displayMode "
        "rows showSubmitButton label",
        "DateTime": f"{_ASKED} {_SHOWN} only format min max",
        "Taxonomy": f"{_ASKED} {_SHOWN} apiUrl leafsOnly showFullPath pathSeparator maxUsages maxWidth minWidth labeling "
        "legacy placeholder value",
        "Relations": "choice",
        "Relation": "value background",
        "Shortcut": "value alias hotkey background",
        "View": f"display style className idAttr {_SHOWN}",
        "Header": f"value size style underline {_SHOWN}",
        "Markdown": f"value style className idAttr {_SHOWN}",
        "Style": "",
        "Collapse": "accordion bordered open",
        "Panel": "value",
        "Filter": "name toName placeholder minlength style hotkey",
        "Text": "name value valueType saveTextResult encoding selectionEnabled highlightColor showLabels granularity style",
    }.items()
}
"""Every tag that a label config for pictures may hold, with its attributes, lower case as Label Studio compares them."""
OTHER_TAGS = _words(
    "Audio AudioPlus Channel Chat ChatMessage Cube Cuboid HyperText HyperTextLabels List Magicwand MultiChannel Object3D OcrLabels "
    "Pagination Pairwise ParagraphLabels Paragraphs Pdf PdfLabels Ranker Bucket ReactCode Repeater Table TimeSeries "
    "TimeSeriesLabels TimelineLabels Video VideoRectangle VideoVector VideoVectorLabels"
)
"""Tags for other data than pictures: known, their attributes are not checked."""
ASKING = ("Choices", "Number", "Rating", "TextArea", "DateTime", "Taxonomy")
"""Controls that ask, about the picture or (perRegion) about each shape."""
DRAWING = tuple(tag for tag in ATTRIBUTES if tag.removesuffix("Labels") in
                ("Rectangle", "Polygon", "Brush", "Bitmask", "Ellipse", "KeyPoint", "Vector", "MagicWand"))  # fmt: skip
SWITCHES = _words(
    "smoothing zoom negativeZoom grid zoomControl brightnessControl contrastControl rotateControl selectionControl crosshair "
    "showInline required perRegion perItem canRotate editable transcription skipDuplicates selected slider allowNested"
)
NUMBERS = _words(
    "min max step maxRating strokeWidth opacity zoomBy gridSize maxSubmissions rows maxUsages defaultValue"
)
OWN_KEYS = {
    "h": "pan",
    "v": "move",
    "shift+1": "zoom to fit",
    "shift+2": "zoom to 1:1",
    "escape": "leave",
    "enter": "focus",
}
SHAPE_KEYS = {"u": "unselect", "backspace": "delete", "[": "smaller brush", "]": "bigger brush"}
TOOL_KEYS = {
    "r": "Rectangle",
    "p": "Polygon",
    "b": "Brush",
    "e": "Brush",
    "o": "Ellipse",
    "k": "KeyPoint",
    "w": "MagicWand",
}
"""Keys that Label Studio itself takes: always, where shapes are drawn, and where a config has the tool."""
