"""Models outside of a training machine: ONNX files (``clipvil export``), HTTP (``clipvil serve``).

``onnx_*`` needs the extra ``onnx``, and ``server`` the extra ``serve``; the rest needs neither.
"""
