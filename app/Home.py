"""`streamlit run app/Home.py`: the server's launcher and the script of every page in one, with the table of pages.

Streamlit imports this file once to find `app` (routes, lifespan), and executes it at every rerun.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

# {section of the navigation: [(file in app/views and address, title, icon)]}
SECTIONS = {
    "": [("home", "Home", "home")],
    "Dataset Creator": [
        ("new_dataset", "New dataset", "add_circle"),
        ("datasets", "Datasets", "photo_library"),
        ("annotate", "Annotate", "draw"),
    ],
    "Professional Training": [("train", "Train", "tune")],
    "Performance Monitoring": [("monitor", "Monitor", "monitoring"), ("compare", "Compare", "compare_arrows")],
    "Model Export & Deployment": [("export", "Export", "deployed_code"), ("try_it", "Try it", "center_focus_strong")],
    "Quality Assurance": [
        ("check", "Check", "rule"),
        ("review", "Review", "how_to_vote"),
        ("evaluate", "Evaluate", "fact_check"),
    ],
    " ": [("catalog", "Catalog", "database")],
}


def main() -> None:
    from app import look

    st.set_page_config(page_title="TruGrade lab", page_icon=Path(__file__).with_name("icon.svg"), layout="wide")
    pages = {
        section: [
            st.Page(f"views/{name}.py", title=title, icon=f":material/{icon}:", url_path=name, default=name == "home")
            for name, title, icon in rows
        ]
        for section, rows in SECTIONS.items()
    }
    page = st.navigation(pages, expanded=True)
    look.frame()
    with look.errors("drawing this page"):
        page.run()
    with st.sidebar, look.errors("reading the workspace"):
        look.foot()


if __name__ == "__main__":
    main()
else:
    from app.server import ROUTES, lifespan, middleware

    app = st.App(__file__, routes=ROUTES, lifespan=lifespan, middleware=middleware())
