# SPDX-License-Identifier: Apache-2.0
"""What makes two inputs share only statics or only dynamics: shuffling, styles, flow jitter, and triplets of them."""

from __future__ import annotations

from .dis_flow import DisFlow, FlowEstimator
from .flow_colours import NO_MOTION, Encoding, colour_to_flow, flow_to_colour, turn_flow_colours
from .flow_jitter import ColourDraw, FlowJitter, JitterMode, VectorDraw
from .flow_triplets import FlowTriplets
from .guides import draw_guides
from .sheet import contact_sheet, save_sheet
from .shuffling import draw_permutations, shuffle_frames, shuffled_by_key
from .styles import NetworkStyle, Style, StyleSet, check_style, get_style, list_styles, register_style
from .temporal_filter import filter_over_time
from .triplets import Triplet, TripletFunction, VideoTriplets

__all__ = (
    "NO_MOTION",
    "ColourDraw",
    "DisFlow",
    "Encoding",
    "FlowEstimator",
    "FlowJitter",
    "FlowTriplets",
    "JitterMode",
    "NetworkStyle",
    "Style",
    "StyleSet",
    "Triplet",
    "TripletFunction",
    "VectorDraw",
    "VideoTriplets",
    "check_style",
    "colour_to_flow",
    "contact_sheet",
    "draw_guides",
    "draw_permutations",
    "filter_over_time",
    "flow_to_colour",
    "get_style",
    "list_styles",
    "register_style",
    "save_sheet",
    "shuffle_frames",
    "shuffled_by_key",
    "turn_flow_colours",
)
