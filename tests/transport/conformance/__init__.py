"""What RFC 9113 asks of a server, asked by clients that share no code with it.

Each test, or each of its cases, is named by its section. Where a rule holds for every frame that a server
sends, `Client.frame` asserts it on all that arrive, in every test.

    3.2     h2 agreed on by ALPN                      test_tls_9
    3.3     prior knowledge; TLS only with ALPN       test_preface_3, test_tls_9
    3.4     preface of both sides, its errors         test_preface_3
    4.1     unknown types, unused flags, reserved bit test_frames_4; sent: `Client.frame`
    4.2     frame size, both ways                     test_frames_4; sent: `Client.frame`
    4.3     field blocks: in one piece, decoded always, errors of RFC 7541
                                                      test_frames_4
    4.3.1   size of the table, both ways              test_frames_4
    5.1     states; what crosses on the wire          test_streams_5
    5.1.1   identifiers                               test_streams_5
    5.1.2   concurrency                               test_streams_5
    5.2     windows are held to, and opened again     test_flow_control_6_9, ../test_flow
    5.3.2   priorities are taken and mean nothing     test_streams_5
    5.4.1   GOAWAY, then the end                      test_streams_5, and each `breaks`
    5.4.2   RST_STREAM once, never for RST_STREAM, others go on
                                                      test_streams_5, and each `resets`
    5.5     unknown frames, settings, codes           test_frames_4, test_frame_types_6
    6.1     DATA, padding                             test_frame_types_6
    6.2     HEADERS, padding, priority                test_frame_types_6
    6.3     PRIORITY                                  test_frame_types_6, test_streams_5
    6.4     RST_STREAM                                test_frame_types_6, test_streams_5, ../test_flow
    6.5     SETTINGS, their order and acknowledgement test_frame_types_6
    6.6     PUSH_PROMISE is neither sent nor taken    test_frame_types_6; sent: `Client.frame`
    6.7     PING                                      test_frame_types_6
    6.8     GOAWAY, both ways; the drain              test_frame_types_6, test_grpc, ../test_connection
    6.9     WINDOW_UPDATE, what counts                test_frame_types_6, test_flow_control_6_9
    6.9.1   no window exceeded, by either side        test_flow_control_6_9, ../test_flow
    6.9.2   initial size, open streams, below zero    test_flow_control_6_9, ../test_flow
    6.10    CONTINUATION                              test_frame_types_6, test_frames_4
    7       unknown error codes                       test_frame_types_6
    8.1     order of frames, trailers, early answers  test_http_8
    8.1.1   malformed requests, content-length        test_http_8
    8.2     names and values, connection fields, TE   test_http_8
    8.3     pseudo-header fields                      test_http_8
    8.4     no push by a client                       test_frame_types_6
    8.5     CONNECT                                   test_http_8
    8.7     REFUSED_STREAM and GOAWAY are true        test_streams_5, test_frame_types_6
    9.2     TLS version, compression, renegotiation, cipher suites
                                                      test_tls_9
    10.5    denial of service                         ../attacks

Not tested, with the reason in a word:

    3.1     h2c token, HTTP2-Settings                 deprecated
    5.1     reserved streams                          push
    5.2.2   frames are read promptly                  performance
    5.5     extensions are negotiated first           design
    6.3     PRIORITY is sent nowhere                  unused
    6.6     rules for promised streams                push
    6.8     no streams are opened after GOAWAY        client
    6.9.3   a smaller window while streams are open   unused
    8.1.1   malformed messages are not forwarded      intermediary
    8.2.3   cookies are joined for HTTP/1.1           intermediary
    8.3.1   Host against :authority, normalised       intermediary
    8.3.2   the client checks :status                 client
    8.4     promises, their safety and authority      push
    8.5     frames on a tunnel                        proxy
    8.6     101 is not sent                           unused
    9.1.1   certificates for reused connections       client
    9.2.1   sizes of ephemeral keys                   library
    9.2.3   post-handshake authentication by a client client
    10.3    translation to HTTP/1.1                   intermediary
"""
