from nnclip.service.lru_cache import LRUCache


def test_the_cache_computes_what_it_lacks_in_the_order_asked():
    cache, computed = LRUCache(3), []

    def rows(keys):
        def compute(missing):
            computed.append([keys[i] for i in missing])
            return [keys[i].upper() for i in missing]

        return "".join(cache.get(keys, compute)).lower()

    assert [rows("abc"), rows("cab"), rows("dad")] == ["abc", "cab", "dad"]
    assert computed == [["a", "b", "c"], ["d"]]
    assert [rows("vwxyz"), rows("xyz"), rows("d")] == ["vwxyz", "xyz", "d"]
    assert computed[2:] == [list("vwxyz"), ["d"]]  # the last three were kept
