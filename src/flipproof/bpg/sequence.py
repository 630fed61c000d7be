"""Reads the sequence parameter set (SPS) that an encoder wrote, and checks that BPG can do without it."""

from __future__ import annotations

from dataclasses import dataclass

from flipproof.bpg.syntax import SyntaxReader
from flipproof.bpg.tree import CodingTree, read_extension, read_pcm
from flipproof.errors import HeaderError

__all__ = ["Sequence", "read_sequence"]


@dataclass(frozen=True)
class Sequence:
    """What a sequence parameter set says.

    Attributes:
        height: Of the coded picture.
        width: Of the coded picture.
        chroma: The ``chroma_format_idc``.
        bit_depth: Of luma and chroma.
        tree: The fields that a BPG file holds.
    """

    height: int
    width: int
    chroma: int
    bit_depth: int
    tree: CodingTree


def read_sequence(payload: bytes) -> Sequence:
    """Reads the payload of an SPS.

    Raises:
        HeaderError: The SPS is cut short, or has what the one that BPG implies cannot have.
    """
    reader = SyntaxReader(payload)
    _expect("sps_video_parameter_set_id", reader.read("sps_video_parameter_set_id", 4), 0)
    _expect("sps_max_sub_layers_minus1", reader.read("sps_max_sub_layers_minus1", 3), 0)
    reader.read("sps_temporal_id_nesting", 1)
    reader.read("profile_tier_level", 96)
    _expect("sps_seq_parameter_set_id", reader.read_ue("sps_seq_parameter_set_id"), 0)
    chroma = reader.read_ue("chroma_format_idc")
    if chroma == 3:
        _expect("separate_colour_plane", reader.read("separate_colour_plane", 1), 0)
    width, height = reader.read_ue("pic_width_in_luma_samples"), reader.read_ue("pic_height_in_luma_samples")
    _expect("conformance_window", reader.read("conformance_window", 1), 0)
    depth = reader.read_ue("bit_depth_luma_minus8") + 8
    _expect("bit_depth_chroma_minus8", reader.read_ue("bit_depth_chroma_minus8"), depth - 8)
    return Sequence(height, width, chroma, depth, _read_tree(reader))


def _read_tree(reader: SyntaxReader) -> CodingTree:
    _expect("log2_max_pic_order_cnt_lsb_minus4", reader.read_ue("log2_max_pic_order_cnt_lsb_minus4"), 4)
    reader.read("sub_layer_ordering_info_present", 1)
    for name in ("max_dec_pic_buffering_minus1", "max_num_reorder_pics", "max_latency_increase_plus1"):
        reader.read_ue(name)
    block = reader.read_ue("log2_min_luma_coding_block_size_minus3") + 3
    larger_blocks = reader.read_ue("log2_diff_max_min_luma_coding_block_size")
    transform = reader.read_ue("log2_min_luma_transform_block_size_minus2") + 2
    larger_transforms = reader.read_ue("log2_diff_max_min_luma_transform_block_size")
    reader.read_ue("max_transform_hierarchy_depth_inter")
    depth = reader.read_ue("max_transform_hierarchy_depth_intra")
    _expect("scaling_list_enabled", reader.read("scaling_list_enabled", 1), 0)
    reader.read("amp_enabled", 1)
    adaptive_offset, pcm = reader.flag("sample_adaptive_offset_enabled"), read_pcm(reader)
    _expect("num_short_term_ref_pic_sets", reader.read_ue("num_short_term_ref_pic_sets"), 0)
    _expect("long_term_ref_pics_present", reader.read("long_term_ref_pics_present", 1), 0)
    reader.read("sps_temporal_mvp_enabled", 1)
    strong_smoothing = reader.flag("strong_intra_smoothing_enabled")
    if reader.flag("vui_parameters_present"):
        _skip_usability(reader)
    return CodingTree(
        block=block,
        larger_blocks=larger_blocks,
        transform=transform,
        larger_transforms=larger_transforms,
        depth=depth,
        adaptive_offset=adaptive_offset,
        pcm=pcm,
        strong_smoothing=strong_smoothing,
        range_flags=read_extension(reader),
    )


def _skip_usability(reader: SyntaxReader) -> None:
    """Skips the video usability information (H.265, annex E), which decoding does not need."""
    if reader.flag("aspect_ratio_info_present") and reader.read("aspect_ratio_idc", 8) == 255:
        reader.read("sample_aspect_ratio", 32)
    if reader.flag("overscan_info_present"):
        reader.read("overscan_appropriate", 1)
    if reader.flag("video_signal_type_present"):
        reader.read("video_format_and_range", 4)
        if reader.flag("colour_description_present"):
            reader.read("colour_description", 24)
    if reader.flag("chroma_loc_info_present"):
        reader.read_ue("chroma_sample_loc_type_top_field")
        reader.read_ue("chroma_sample_loc_type_bottom_field")
    reader.read("neutral_chroma_and_fields", 3)
    _expect("default_display_window", reader.read("default_display_window", 1), 0)
    if reader.flag("vui_timing_info_present"):
        reader.read("vui_timing", 64)
        if reader.flag("vui_poc_proportional_to_timing"):
            reader.read_ue("vui_num_ticks_poc_diff_one_minus1")
        _expect("vui_hrd_parameters_present", reader.read("vui_hrd_parameters_present", 1), 0)
    if reader.flag("bitstream_restriction"):
        reader.read("restrictions", 3)
        for name in ("segmentation", "bytes", "bits", "motion_horizontal", "motion_vertical"):
            reader.read_ue(name)


def _expect(name: str, value: int, expected: int) -> None:
    if value != expected:
        raise HeaderError(f"expected {name} = {expected} in the encoder's sequence parameter set, got {value}")
