import mmf_bridge.finder

mmf_bridge.finder.install()
