"""Files and folders that appear whole or not at all: the bridge's helper serves both packages."""

from mmf_bridge.common.whole_files import replacing, replacing_folder, whole_file

__all__ = ["replacing", "replacing_folder", "whole_file"]
