"""The coding tree of HEVC: the part of a sequence parameter set that a BPG file holds, and the rest that it implies.

A BPG file has neither video nor sequence parameter set. It has the few fields below; all others have fixed values, and
the size of the coded picture is that of the picture in whole minimum coding blocks.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from flipproof.bpg.header import read_ue7, write_ue7
from flipproof.bpg.syntax import SyntaxReader, SyntaxWriter, Unit
from flipproof.errors import HeaderError

__all__ = ["RANGE_EXTENSION", "CodingTree", "Pcm", "parameter_sets"]

VIDEO_PARAMETER_SET = 32
SEQUENCE_PARAMETER_SET = 33

RANGE_EXTENSION = (
    "transform_skip_rotation_enabled",
    "transform_skip_context_enabled",
    "implicit_rdpcm_enabled",
    "explicit_rdpcm_enabled",
    "extended_precision_processing",
    "intra_smoothing_disabled",
    "high_precision_offsets_enabled",
    "persistent_rice_adaptation_enabled",
    "cabac_bypass_alignment_enabled",
)
"""The flags of the range extension, in their order."""

_LARGEST_BLOCK = 6
_SMALLEST_TREE = 4
_LARGEST_TRANSFORM = 5


@dataclass(frozen=True)
class Pcm:
    """Blocks without compression.

    Attributes:
        luma_depth: Bits of a sample.
        chroma_depth: Bits of a sample.
        block: Logarithm to base 2 of the side of the smallest one.
        larger: How many larger sizes there are.
        loop_filter_disabled: Whether they are left unfiltered.
    """

    luma_depth: int
    chroma_depth: int
    block: int
    larger: int
    loop_filter_disabled: bool


@dataclass(frozen=True)
class CodingTree:
    """How pictures are divided, and which tools there are. Sizes of blocks are logarithms to base 2 of their side.

    Attributes:
        block: Smallest coding block, 3 or more.
        larger_blocks: How many larger sizes there are; the largest is the coding tree block, 4 to 6.
        transform: Smallest transform block, 2 or more and below ``block``.
        larger_transforms: How many larger sizes there are; the largest at most 5.
        depth: How often transform blocks are divided within intra blocks (``max_transform_hierarchy_depth_intra``).
        adaptive_offset: Whether there is sample adaptive offset.
        pcm: Blocks without compression, if any.
        strong_smoothing: Whether there is strong intra smoothing.
        range_flags: The flags of :data:`RANGE_EXTENSION` as a number, the first one highest; None without extension.

    Raises:
        HeaderError: A size is out of bounds.
    """

    block: int = 3
    larger_blocks: int = 3
    transform: int = 2
    larger_transforms: int = 3
    depth: int = 0
    adaptive_offset: bool = True
    pcm: Pcm | None = None
    strong_smoothing: bool = True
    range_flags: int | None = None

    def __post_init__(self) -> None:
        tree, largest = self.block + self.larger_blocks, self.transform + self.larger_transforms
        legal = (
            _SMALLEST_TREE <= tree <= _LARGEST_BLOCK
            and self.transform < self.block
            and largest <= min(tree, _LARGEST_TRANSFORM)
            and self.depth <= tree - self.transform
        )
        if not legal:
            raise HeaderError(f"expected coding and transform blocks that HEVC allows, got {astuple(self)[:5]}")

    def pack(self) -> bytes:
        """Returns the ``hevc_header`` of a BPG file."""
        writer = SyntaxWriter()
        self.write_sizes(writer)
        writer.write_ue("max_transform_hierarchy_depth_intra", self.depth)
        self.write_tools(writer)
        writer.write("strong_intra_smoothing_enabled", self.strong_smoothing, 1)
        self.write_extension(writer)
        data = writer.getvalue()
        return write_ue7(len(data)) + data

    @classmethod
    def unpack(cls, data: bytes) -> tuple[CodingTree, bytes]:
        """Reads the ``hevc_header`` at the start of some bytes, and returns what follows it.

        Raises:
            HeaderError: The bytes end within it, or a size is out of bounds.
        """
        length, start = read_ue7(data[:5], "HEVC header length")
        if start + length > len(data):
            raise HeaderError(f"expected an HEVC header of {length} bytes, got {len(data) - start}")
        reader = SyntaxReader(data[start : start + length])
        tree = cls(
            block=reader.read_ue("log2_min_luma_coding_block_size_minus3") + 3,
            larger_blocks=reader.read_ue("log2_diff_max_min_luma_coding_block_size"),
            transform=reader.read_ue("log2_min_luma_transform_block_size_minus2") + 2,
            larger_transforms=reader.read_ue("log2_diff_max_min_luma_transform_block_size"),
            depth=reader.read_ue("max_transform_hierarchy_depth_intra"),
            adaptive_offset=reader.flag("sample_adaptive_offset_enabled"),
            pcm=read_pcm(reader),
            strong_smoothing=reader.flag("strong_intra_smoothing_enabled"),
            range_flags=read_extension(reader),
        )
        return tree, data[start + length :]

    def padded(self, samples: int) -> int:
        """Returns a height or width in whole smallest coding blocks."""
        return -(-samples >> self.block) << self.block

    def write_sizes(self, writer: SyntaxWriter) -> None:
        """Appends the sizes of blocks."""
        writer.write_ue("log2_min_luma_coding_block_size_minus3", self.block - 3)
        writer.write_ue("log2_diff_max_min_luma_coding_block_size", self.larger_blocks)
        writer.write_ue("log2_min_luma_transform_block_size_minus2", self.transform - 2)
        writer.write_ue("log2_diff_max_min_luma_transform_block_size", self.larger_transforms)

    def write_tools(self, writer: SyntaxWriter) -> None:
        """Appends which tools there are."""
        writer.write("sample_adaptive_offset_enabled", self.adaptive_offset, 1)
        writer.write("pcm_enabled", self.pcm is not None, 1)
        if self.pcm is not None:
            writer.write("pcm_sample_bit_depth_luma_minus1", self.pcm.luma_depth - 1, 4)
            writer.write("pcm_sample_bit_depth_chroma_minus1", self.pcm.chroma_depth - 1, 4)
            writer.write_ue("log2_min_pcm_luma_coding_block_size_minus3", self.pcm.block - 3)
            writer.write_ue("log2_diff_max_min_pcm_luma_coding_block_size", self.pcm.larger)
            writer.write("pcm_loop_filter_disabled", self.pcm.loop_filter_disabled, 1)

    def write_extension(self, writer: SyntaxWriter) -> None:
        """Appends the range extension, or that there is none."""
        writer.write("sps_extension_present", self.range_flags is not None, 1)
        if self.range_flags is not None:
            writer.write("sps_range_extension", 1, 1)
            writer.write("sps_extension_7bits", 0, 7)
            writer.write("range_extension", self.range_flags, len(RANGE_EXTENSION))


def read_pcm(reader: SyntaxReader) -> Pcm | None:
    """Reads whether there are blocks without compression, and which.

    Raises:
        HeaderError: The bits end within it.
    """
    if not reader.flag("pcm_enabled"):
        return None
    return Pcm(
        luma_depth=reader.read("pcm_sample_bit_depth_luma_minus1", 4) + 1,
        chroma_depth=reader.read("pcm_sample_bit_depth_chroma_minus1", 4) + 1,
        block=reader.read_ue("log2_min_pcm_luma_coding_block_size_minus3") + 3,
        larger=reader.read_ue("log2_diff_max_min_pcm_luma_coding_block_size"),
        loop_filter_disabled=reader.flag("pcm_loop_filter_disabled"),
    )


def read_extension(reader: SyntaxReader) -> int | None:
    """Reads the flags of the range extension; None where there is no extension.

    Raises:
        HeaderError: The bits end within it, or there are other extensions.
    """
    if not reader.flag("sps_extension_present"):
        return None
    ranged = reader.flag("sps_range_extension")
    if others := reader.read("sps_extension_7bits", 7):
        raise HeaderError(f"expected no other extensions of the sequence parameter set, got {others:07b}")
    return reader.read("range_extension", len(RANGE_EXTENSION)) if ranged else None


def parameter_sets(tree: CodingTree, height: int, width: int, chroma: int, bit_depth: int) -> list[Unit]:
    """Returns the video and the sequence parameter set that a BPG file implies.

    Arguments:
        tree: What the file says.
        height: Of the picture, before padding.
        width: Of the picture, before padding.
        chroma: The ``chroma_format_idc``.
        bit_depth: Of all planes.
    """
    sequence = SyntaxWriter()
    sequence.write("sps_video_parameter_set_id", 0, 4)
    sequence.write("sps_max_sub_layers_minus1", 0, 3)
    sequence.write("sps_temporal_id_nesting", 1, 1)
    _write_profile(sequence)
    sequence.write_ue("sps_seq_parameter_set_id", 0)
    sequence.write_ue("chroma_format_idc", chroma)
    if chroma == 3:
        sequence.write("separate_colour_plane", 0, 1)
    sequence.write_ue("pic_width_in_luma_samples", tree.padded(width))
    sequence.write_ue("pic_height_in_luma_samples", tree.padded(height))
    sequence.write("conformance_window", 0, 1)
    sequence.write_ue("bit_depth_luma_minus8", bit_depth - 8)
    sequence.write_ue("bit_depth_chroma_minus8", bit_depth - 8)
    sequence.write_ue("log2_max_pic_order_cnt_lsb_minus4", 4)
    _write_buffering(sequence)
    _write_tree(sequence, tree)
    return [
        Unit.wrap(VIDEO_PARAMETER_SET, _video_parameter_set()),
        Unit.wrap(SEQUENCE_PARAMETER_SET, sequence.finish()),
    ]


def _write_tree(writer: SyntaxWriter, tree: CodingTree) -> None:
    tree.write_sizes(writer)
    writer.write_ue("max_transform_hierarchy_depth_inter", tree.depth)
    writer.write_ue("max_transform_hierarchy_depth_intra", tree.depth)
    writer.write("scaling_list_enabled", 0, 1)
    writer.write("amp_enabled", 1, 1)
    tree.write_tools(writer)
    writer.write_ue("num_short_term_ref_pic_sets", 0)
    writer.write("long_term_ref_pics_present", 0, 1)
    writer.write("sps_temporal_mvp_enabled", 1, 1)
    writer.write("strong_intra_smoothing_enabled", tree.strong_smoothing, 1)
    writer.write("vui_parameters_present", 0, 1)
    tree.write_extension(writer)


def _video_parameter_set() -> bytes:
    writer = SyntaxWriter()
    writer.write("vps_video_parameter_set_id", 0, 4)
    writer.write("vps_base_layer_flags", 0b11, 2)
    writer.write("vps_max_layers_minus1", 0, 6)
    writer.write("vps_max_sub_layers_minus1", 0, 3)
    writer.write("vps_temporal_id_nesting", 1, 1)
    writer.write("vps_reserved", 0xFFFF, 16)
    _write_profile(writer)
    _write_buffering(writer)
    writer.write("vps_max_layer_id", 0, 6)
    writer.write_ue("vps_num_layer_sets_minus1", 0)
    writer.write("vps_timing_info_present", 0, 1)
    writer.write("vps_extension", 0, 1)
    return writer.finish()


def _write_profile(writer: SyntaxWriter) -> None:
    """Appends a profile and level above all that BPG allows: range extensions, level 8.5."""
    writer.write("general_profile_space_and_tier", 0, 3)
    writer.write("general_profile_idc", 4, 5)
    writer.write("general_profile_compatibility", 1 << 27, 32)
    writer.write("general_constraints", 0b1001 << 44, 48)
    writer.write("general_level_idc", 255, 8)


def _write_buffering(writer: SyntaxWriter) -> None:
    writer.write("sub_layer_ordering_info_present", 1, 1)
    for name in ("max_dec_pic_buffering_minus1", "max_num_reorder_pics", "max_latency_increase_plus1"):
        writer.write_ue(name, 0)
